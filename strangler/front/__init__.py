"""The public listener: every public byte passes here.

    front = Front(direct, connections, instrument, Settings(max_clients=1000))
    host, port = await front.listen(socket.create_server(("127.0.0.1", 8080)))      # also tls=CONTEXT
    ...
    front.drain()                 # one answer more for each connection, then it is closed
    front.stop_listening()
    await front.drained()         # or give up after a while:
    await front.close()

``direct`` is a `strangler.ports.Direct`, ``connections`` a `strangler.ports.Links`. Without uvloop it runs, slower.
"""

from strangler.front.listener import Front
from strangler.front.settings import Settings

__all__ = ["Front", "Settings"]
