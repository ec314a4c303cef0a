"""`python -m tests.e2e.soap_service PORT`: a SOAP 1.1 service by spyne, and a JSON-RPC one by Flask beside it."""

from __future__ import annotations

import sys
import time
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from flask import Flask, Response, jsonify, request
from spyne import Application, Decimal, Fault, ServiceBase, Unicode, rpc
from spyne.protocol.soap import Soap11
from spyne.server.wsgi import WsgiApplication
from werkzeug.middleware.dispatcher import DispatcherMiddleware

NAMESPACE = "urn:insurer:verw"


class Schaden(ServiceBase):  # type: ignore[misc] # spyne has no types
    """The policy system of an insurer, in its own words."""

    @rpc(Unicode, Decimal, _returns=Unicode)  # type: ignore[untyped-decorator]
    def anlegen(ctx: Any, POLNR: str, BETRAG: Any) -> str:
        if POLNR == "P-SLOW":
            time.sleep(3)
        if POLNR == "P-NONE":
            raise Fault("Client.NoSuchPolicy", "Vertrag unbekannt")
        if POLNR == "P-DOWN":
            raise Fault("Server", "DB2 nicht erreichbar")
        if BETRAG > 1000:
            return "ERR-17 über dem Limit"
        return f"OK C-{POLNR}"


rpc_service = Flask("rpc")


@rpc_service.post("/")
def call() -> Response:
    """JSON-RPC 2.0: everything is 200."""
    asked: Any = request.get_json()
    reply: dict[str, Any] = {"jsonrpc": "2.0", "id": asked["id"]}
    if asked["method"] != "claim.create":
        reply["error"] = {"code": -32601, "message": "Method not found"}
    elif asked["params"]["polnr"] == "P-NONE":
        reply["error"] = {"code": 17, "message": "no such policy"}
    else:
        reply["result"] = {"nr": f"C-{asked['params']['polnr']}"}
    return jsonify(reply)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *values: Any) -> None:
        """Nobody reads it."""


def main(port: int) -> None:
    """Serve until killed."""
    soap = WsgiApplication(
        Application([Schaden], NAMESPACE, in_protocol=Soap11(validator="lxml"), out_protocol=Soap11())
    )
    service = DispatcherMiddleware(soap, {"/rpc": rpc_service})
    with make_server("127.0.0.1", port, service, _Server, _Quiet) as server:
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]))
