"""What a process is and what may become of it. Pure: standard library only, no clock, no random, no logging."""
