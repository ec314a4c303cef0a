"""What drives the real server from outside: OS processes, signals, sockets, ledgers. Imports nothing of strangler."""
