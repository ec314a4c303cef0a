"""Calling receivers back over HTTP: signed, by addresses that were judged, and never anywhere else."""
