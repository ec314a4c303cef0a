"""The way to the legacy systems: connections that passthrough borrows, and the client for recorded calls.

    connections = Connections(max_head=65536)  # strangler.ports.Links, for the front
    caller = Caller(max_head=65536)            # strangler.ports.UpstreamCaller, for the engine
    keys = PublishedKeys(caller)               # strangler.ports.KeyDocuments, for the engine
    ...
    connections.close()
    caller.close()

Both know an upstream by its name, and open new connections when its policy has changed. They share no connection, so
that slow calls never starve passthrough.
"""

from strangler.upstream.caller import Caller
from strangler.upstream.connections import Connections
from strangler.upstream.key_documents import PublishedKeys

__all__ = ["Caller", "Connections", "PublishedKeys"]
