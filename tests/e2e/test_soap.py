"""A SOAP service by spyne and a JSON-RPC one behind plain JSON clients; and zeep, untouched."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.child import ROOT, Child
from tests.harness.client import Client
from tests.harness.server import Server
from tests.harness.waiting import eventually, free_port

MISSING = [name for name in ("spyne", "zeep", "flask") if importlib.util.find_spec(name) is None]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]

POLICY = """
upstreams:
  insurer: {{url: "{url}"}}
route_defaults:
  upstream: insurer
  process: {{type: ClaimSubmission}}
routes:
  - name: claims
    match: {{path: /claims, methods: [POST]}}
    mode: async
    translate: &words
      request:
        format: soap
        body: {{"v:anlegen": {{"v:POLNR": body.policyNumber, "v:BETRAG": body.amount}}}}
        namespaces: {{v: "urn:insurer:verw"}}
        soap: {{action: anlegen}}
        path: /
      response:
        - {{when: {{body: Fault}}, body: {{error: reply.body.Fault.reason}}, status: 422}}
        - body: {{claim: "reply.body.anlegenResponse.anlegenResult", policy: body.policyNumber}}
    outcome: &meaning
      - {{when: {{body: "Fault.code == 'Client'"}}, state: rejected, status: UNKNOWN_POLICY, reason: Fault.reason}}
      - {{when: {{body: "Fault"}}, state: failed, reason: Fault.reason, effect: none}}
      - when: {{body: "starts_with(anlegenResponse.anlegenResult, 'ERR')"}}
        state: rejected
        status: DECLINED
        reason: anlegenResponse.anlegenResult
      - {{when: {{body: "starts_with(anlegenResponse.anlegenResult, 'OK')"}}, state: completed, status: REGISTERED}}
  - name: patient
    match: {{path: /patient/claims, methods: [POST]}}
    mode: compat
    translate: *words
    outcome: *meaning
  - name: rpc
    match: {{path: /rpc-claims, methods: [POST]}}
    mode: async
    translate:
      request:
        body: {{jsonrpc: "'2.0'", id: process.id, method: "'claim.create'", params: {{polnr: body.policyNumber}}}}
        path: /rpc/
      response: {{body: {{claim: reply.body.result.nr}}}}
    outcome:
      - {{when: {{body: "error.code == `17`"}}, state: rejected, status: UNKNOWN_POLICY, reason: error.message}}
      - {{when: {{body: error}}, state: failed, reason: error.message}}
      - {{when: {{body: result}}, state: completed, status: REGISTERED}}
  - name: soap
    match: {{path: /, methods: [POST]}}
    mode: compat
    wait: 1s
    errors: soap11
    outcome:
      - {{when: {{body: "Fault.code == 'Client'"}}, state: rejected, reason: Fault.reason}}
default: {{upstream: insurer}}
"""


class Service(Child):
    """The services, in an OS process of their own."""

    def __init__(self, directory: Path) -> None:
        super().__init__("soap", directory / "soap.log")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start it and wait until it listens."""
        self.spawn(["-m", "tests.e2e.soap_service", str(self.port)])
        await eventually(self._listens, what="the SOAP service listens")

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class House:
    """The services and the server before them, for all tests of this module."""

    def __init__(self, directory: Path) -> None:
        self.service = Service(directory)
        policy = POLICY.format(url=self.service.url)
        self.server = Server(directory, _without_anchors(policy))

    async def open(self) -> None:
        await self.service.start()
        await self.server.start()

    async def close(self) -> None:
        for child in (self.service, self.server):
            await child.kill()


def _without_anchors(policy: str) -> str:
    """The policy as plain JSON, which is YAML too."""
    import yaml

    return json.dumps(yaml.safe_load(policy))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    house = House(tmp_path_factory.mktemp("house"))
    try:
        asyncio.run(house.open())
        yield house
    finally:
        asyncio.run(house.close())


@pytest.fixture
async def client(house: House) -> AsyncIterator[Client]:
    async with Client(house.server.url, "caller") as client:
        yield client


async def ended(client: Client, path: str, body: Any) -> tuple[dict[str, Any], Any, int]:
    """The status document of a submission at its end, and its result."""
    accepted = await client.submit(path, f"{path} {body}", body=body)
    assert accepted.status == 202
    document = await client.settled(accepted.json()["id"])
    result = await client.request("GET", document["links"]["result"])
    return document, result.json(), result.status


async def test_a_json_client_submits_to_a_soap_service(client: Client) -> None:
    document, result, status = await ended(client, "/claims", {"policyNumber": "P-1", "amount": 12.5})
    assert (document["state"], document["status"]) == ("completed", "REGISTERED")
    assert (status, result) == (200, {"claim": "OK C-P-1", "policy": "P-1"})


async def test_what_the_service_says_with_200_is_a_rejection(client: Client) -> None:
    document, result, _ = await ended(client, "/claims", {"policyNumber": "P-1", "amount": 5000})
    assert (document["state"], document["status"], document["effect"]) == ("rejected", "DECLINED", "none")
    assert document["reason"] == "ERR-17 über dem Limit"
    assert result["claim"] == "ERR-17 über dem Limit"


@pytest.mark.parametrize(
    ("policy", "state", "reason"),
    [("P-NONE", "rejected", "Vertrag unbekannt"), ("P-DOWN", "failed", "DB2 nicht erreichbar")],
)
async def test_a_fault_of_the_service_is_told_in_words_of_the_client(
    client: Client, policy: str, state: str, reason: str
) -> None:
    document, result, status = await ended(client, "/claims", {"policyNumber": policy, "amount": 1})
    assert (document["state"], document["reason"], document["effect"]) == (state, reason, "none")
    assert (status, result) == (422, {"error": reason})


async def test_a_translated_route_may_stay_synchronous(client: Client) -> None:
    reply = await client.request("POST", "/patient/claims", body={"policyNumber": "P-7", "amount": 1})
    assert (reply.status, reply.json()) == (200, {"claim": "OK C-P-7", "policy": "P-7"})
    assert reply.headers["Content-Type"] == "application/json"


async def test_a_json_client_submits_to_a_json_rpc_service(client: Client) -> None:
    document, result, _ = await ended(client, "/rpc-claims", {"policyNumber": "P-1"})
    assert (document["status"], result) == ("REGISTERED", {"claim": "C-P-1"})
    document, _, _ = await ended(client, "/rpc-claims", {"policyNumber": "P-NONE"})
    assert (document["state"], document["status"]) == ("rejected", "UNKNOWN_POLICY")
    assert document["reason"] == "no such policy"


async def zeep_calls(base: str, policy: str, amount: str) -> dict[str, Any]:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.e2e.soap_client", f"{base}/", policy, amount),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await child.communicate()
    assert child.returncode == 0, err.decode()
    found: dict[str, Any] = json.loads(out)
    return found


async def test_a_soap_client_notices_nothing(house: House) -> None:
    for policy in ("P-1", "P-NONE"):
        through, direct = await asyncio.gather(
            zeep_calls(house.server.url, policy, "1"), zeep_calls(house.service.url, policy, "1")
        )
        assert through == direct
    assert direct["fault"] == "Vertrag unbekannt"


async def test_a_soap_client_that_waited_too_long_reads_a_fault_of_ours(house: House) -> None:
    found = await zeep_calls(house.server.url, "P-SLOW", "1")
    assert found["faultcode"] == "soap:Server"
    assert found["code"] == "wait-over"
    assert "The wait is over" in found["fault"]
