"""The connection pool and the client towards the legacy system."""
