"""The road of a request, one file per room, talking to the world only through `strangler.ports`."""
