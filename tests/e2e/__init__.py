"""The server against a real service that nobody here wrote."""
