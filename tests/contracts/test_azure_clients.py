"""Azure's own client libraries for Python, as they are, follow a process to its end and to its failure."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness.server import Server

core = pytest.importorskip("azure.core", reason="azure-core is not installed: pip install strangler[dev]")
pytest.importorskip("azure.mgmt.core", reason="azure-mgmt-core is not installed: pip install strangler[dev]")

from azure.core import PipelineClient  # noqa: E402
from azure.core.exceptions import HttpResponseError  # noqa: E402
from azure.core.pipeline.policies import HeadersPolicy, RedirectPolicy, RequestIdPolicy, RetryPolicy  # noqa: E402
from azure.core.pipeline.transport import RequestsTransport  # noqa: E402
from azure.core.polling import LROPoller, PollingMethod  # noqa: E402
from azure.core.polling.base_polling import LROBasePolling  # noqa: E402
from azure.core.rest import HttpRequest  # noqa: E402
from azure.mgmt.core.polling.arm_polling import ARMPolling  # noqa: E402

SLOW = "delay=0.3"


class Impatient(RequestsTransport):
    """The library's transport, which sleeps as long as it has to and no longer than a test likes."""

    def sleep(self, duration: float) -> None:
        super().sleep(min(duration, 0.05))


@pytest.fixture
def client(server: Server) -> Iterator[Any]:
    policies = [RequestIdPolicy(), HeadersPolicy({"X-Api-Key": "alice"}), RedirectPolicy(), RetryPolicy()]
    with PipelineClient(server.url, policies=policies, transport=Impatient()) as pipeline:
        yield pipeline


def begin(client: Any, method: str, path: str, script: str, polling: PollingMethod[Any]) -> LROPoller[Any]:
    """What a generated client does: send the request, check its status, hand the reply to the poller."""
    marker = str(uuid.uuid4())
    request = HttpRequest(
        method, client.format_url(path), json={"amount": 12}, headers={"X-Correlation-ID": marker, "X-Legacy": script}
    )
    response = client.send_request(request, _return_pipeline_response=True)
    assert response.http_response.status_code == 202
    return LROPoller(client, response, lambda final: (final.http_response, marker), polling)


POLLINGS = {"LROBasePolling": LROBasePolling, "ARMPolling": ARMPolling}


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("polling", POLLINGS)
def test_it_is_followed_to_its_end_and_the_result_is_the_legacy_body(client: Any, method: str, polling: str) -> None:
    poller = begin(client, method, "/azure/claims", SLOW, POLLINGS[polling](timeout=1))
    final, marker = poller.result(20)
    assert poller.status() == "Succeeded"
    told = final.json()
    assert (told["marker"], told["method"], told["path"]) == (marker, method, "/azure/claims")
    assert final.headers["X-Legacy-Answer"] == "yes"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
@pytest.mark.parametrize("polling", POLLINGS)
@pytest.mark.parametrize(
    ("script", "code", "said"),
    [
        (f"{SLOW} status=500", "upstream-error", "answered 500"),
        (f"{SLOW} status=422", "Rejected", "answered 422; nothing was done, it is safe to try again"),
    ],
)
def test_it_is_followed_to_its_failure_and_the_error_says_why(
    client: Any, method: str, polling: str, script: str, code: str, said: str
) -> None:
    poller = begin(client, method, "/azure/claims", script, POLLINGS[polling](timeout=1))
    with pytest.raises(HttpResponseError) as failure:
        poller.result(20)
    assert poller.status() == "Failed"
    assert failure.value.error is not None
    assert failure.value.error.code == code
    assert said in str(failure.value)


def test_a_delete_ends_without_a_last_question(client: Any) -> None:
    poller = begin(client, "DELETE", "/azure/claims/17", SLOW, LROBasePolling(timeout=1))
    poller.wait(20)
    assert poller.status() == "Succeeded"


def test_a_poller_taken_up_from_its_token_goes_on(client: Any) -> None:
    token = begin(client, "POST", "/azure/claims", SLOW, LROBasePolling(timeout=1)).continuation_token()
    taken_up = LROPoller.from_continuation_token(
        LROBasePolling(timeout=1), token, client=client, deserialization_callback=lambda final: final.http_response
    )
    assert taken_up.result(20).json()["path"] == "/azure/claims"


def test_every_answer_brings_the_clients_request_id_back(client: Any) -> None:
    request = HttpRequest("POST", client.format_url("/azure/claims"), json={}, headers={"X-Correlation-ID": "c"})
    begun = client.send_request(request)
    sent = begun.request.headers["x-ms-client-request-id"]
    assert begun.headers["x-ms-client-request-id"] == sent
    monitor = client.send_request(HttpRequest("GET", begun.headers["Operation-Location"]))
    assert monitor.headers["x-ms-client-request-id"] == monitor.request.headers["x-ms-client-request-id"] != sent
    assert isinstance(monitor.json()["status"], str)


def test_polling_by_location_alone_follows_a_native_route(client: Any) -> None:
    final, marker = begin(client, "POST", "/native/claims", SLOW, LROBasePolling(timeout=1)).result(20)
    assert final.json()["marker"] == marker
    assert final.headers["X-Legacy-Answer"] == "yes"


def test_polling_by_location_alone_gets_the_legacy_error_of_a_native_route(client: Any) -> None:
    poller = begin(client, "POST", "/native/claims", f"{SLOW} status=422", LROBasePolling(timeout=1))
    with pytest.raises(HttpResponseError) as failure:
        poller.result(20)
    assert failure.value.status_code == 422
    assert json.loads(failure.value.response.text())["path"] == "/native/claims"  # type: ignore[union-attr]
