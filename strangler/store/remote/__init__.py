"""One SQLite file for several OS processes: one owns it and writes, the others send it what is to be written.

They talk over a Unix socket in a private folder (`frames`). Reading needs nobody: whoever has the file open for reading
sees what was committed before the answer to the commit.
"""
