"""`python -m tests.e2e.soap_client URL POLNR BETRAG`: one call by zeep; what came of it, as JSON."""

from __future__ import annotations

import json
import sys
from decimal import Decimal

import zeep
from zeep.exceptions import Fault


def main(address: str, policy: str, amount: str) -> None:
    """Call, and print."""
    client = zeep.Client(f"{address}?wsdl")
    (binding,) = client.wsdl.bindings
    # spyne keeps the address of whoever asked for the description first.
    service = client.create_service(binding, address)
    try:
        found = {"result": service.anlegen(policy, Decimal(amount))}
    except Fault as fault:
        detail = fault.detail
        code = detail.findtext(".//{*}code") if detail is not None else None
        found = {"fault": fault.message, "faultcode": fault.code, "code": code}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:4])
