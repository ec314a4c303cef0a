"""What a route says and what follows from it. Pure: no clock, no random, no I/O."""
