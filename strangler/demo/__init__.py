"""The demonstration: a slow legacy insurer, and the story of what changes when Strangler stands in front of it."""
