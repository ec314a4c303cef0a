"""Strangler: a reverse proxy that turns slow legacy HTTP calls into durable 202 process resources."""
