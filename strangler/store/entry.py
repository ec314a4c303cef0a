"""One process in the memory store, and what belongs to it."""

from __future__ import annotations

from dataclasses import dataclass, field

from strangler.domain.events import Event, OutboxRow
from strangler.domain.exchange import Attempt, RecordedReply, RecordedRequest
from strangler.domain.idempotency import KeyRecord
from strangler.domain.process import Process
from strangler.ports import Evidence, ExceptionEntry
from strangler.store.ledger import Ledger
from strangler.store.retention import NOTHING, Part, part_until


@dataclass(slots=True)
class Entry:
    """What the tables of another store hold of one process."""

    process: Process
    retain_until_at: int | None = None
    events: list[Event] = field(default_factory=list)
    outbox: list[OutboxRow] = field(default_factory=list)
    request: RecordedRequest | None = None
    reply: tuple[int, RecordedReply] | None = None
    attempts: dict[int, Attempt] = field(default_factory=dict)
    evidence: list[Evidence] = field(default_factory=list)
    gone: Part = NOTHING

    def ledger(self, held: KeyRecord | None, exceptions: tuple[ExceptionEntry, ...]) -> Ledger:
        """All of it as values; ``held`` is what is recorded under its idempotency key."""
        request = self.request
        return Ledger(
            self.process,
            self.retain_until_at,
            tuple(self.events),
            tuple(self.outbox),
            request._replace(credentials=()) if request is not None else None,
            request is not None and bool(request.credentials),
            self.reply,
            tuple(self.attempts[number] for number in sorted(self.attempts)),
            tuple(self.evidence),
            exceptions,
            held,
            gone=self.gone,
        )

    def is_due(self, part: Part, now: int) -> bool:
        """Whether it is time to forget a part of it."""
        if self.retain_until_at is None or part in self.gone:
            return False
        until = part_until(self.process, self.retain_until_at, part)
        return until is not None and until <= now

    def forget(self, part: Part) -> None:
        """Forget a part of it; what lies elsewhere is not touched."""
        self.gone |= part
        match part:
            case Part.BODIES:
                self.request = self.reply = None
                self.evidence.clear()
            case Part.HISTORY:
                self.events.clear()
                self.outbox.clear()
                self.attempts.clear()
