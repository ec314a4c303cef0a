"""Clients and servers that nobody here wrote: what they do directly they do through strangler, with one outcome."""
