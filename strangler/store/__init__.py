"""Where processes are kept: SQLite (the default) and memory, under one conformance suite."""
