"""Ways out to whoever wants to be told: callbacks."""
