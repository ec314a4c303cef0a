"""Values that the tests of this room are made of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import TracebackType

from prometheus_client.parser import text_string_to_metric_families

from strangler.domain.exchange import Attempt, AttemptOutcome, Peer, Request
from strangler.domain.process import Process
from strangler.engine.instrument import AccessLog, Level
from strangler.operations.lines import LogFormat
from strangler.operations.logs import Logs
from strangler.operations.telemetry import Telemetry
from tests.domain.drafts import a_draft

STARTED_AT = 1_795_000_000_000
PROCESS_ID = "01a1f000-0000-7000-8000-000000000001"


class NoBody:
    """The body of a request without one."""

    async def read(self) -> bytes:
        return b""


def a_request(
    target: bytes = b"/claims", method: str = "POST", headers: tuple[tuple[bytes, bytes], ...] = ()
) -> Request:
    return Request(method, target, headers, Peer("192.0.2.7", 40000), NoBody())


def a_process(**fields: object) -> Process:
    draft = a_draft(
        id=PROCESS_ID,
        promise="0" * 64,
        correlation_id="c0ffee",
        created_at=STARTED_AT,
        deadline_at=STARTED_AT + 86_400_000,
        retain=0,
    )
    return draft._replace(**fields)  # type: ignore[arg-type]


def an_attempt(outcome: AttemptOutcome | None = AttemptOutcome.COMPLETED, **fields: object) -> Attempt:
    attempt = Attempt(PROCESS_ID, 1, 1, "owner", STARTED_AT, STARTED_AT + 1500, outcome, 200)
    return attempt._replace(**fields)  # type: ignore[arg-type]


class Heard:
    """A telemetry whose lines are kept; read them after the block."""

    def __init__(self, form: LogFormat = "json", level: Level = "debug", access_log: AccessLog = "all") -> None:
        self.written = bytearray()
        self.logs = Logs(self.written.extend, form=form, level=level)
        self.telemetry = Telemetry(self.logs, version="1.2.3", started_at=STARTED_AT, access_log=access_log)

    def __enter__(self) -> Telemetry:
        self.logs.start()
        return self.telemetry

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.logs.close()

    @property
    def text(self) -> str:
        return self.written.decode()

    @property
    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.text.splitlines()]


def scraped(telemetry: Telemetry) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """All samples of a scrape, by name and labels."""
    telemetry.counts.read()
    return parsed(telemetry.exposition.render().decode())


def parsed(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """All samples of an exposition; none may come twice."""
    found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def value(samples: Mapping[tuple[str, frozenset[tuple[str, str]]], float], name: str, **labels: str) -> float | None:
    """One sample; None where there is none."""
    return samples.get((name, frozenset(labels.items())))
