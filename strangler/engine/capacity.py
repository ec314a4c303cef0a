"""Whether there is room for new work: what refuses it when nothing is wrong with the request itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from strangler.engine.execute import Executor
from strangler.engine.lanes import Lanes
from strangler.engine.means import Means
from strangler.engine.submission import Acceptance, Pass, Refused, Submission
from strangler.policy.model import Mode, Route


class Capacity:
    """Judges whether one more process can be taken. See `Acceptor` for the arguments."""

    def __init__(
        self,
        means: Means,
        lanes: Lanes,
        executor: Executor,
        *,
        draining: Callable[[], bool],
        overloaded: Callable[[], str | None],
    ) -> None:
        self._means = means
        self._lanes = lanes
        self._executor = executor
        self._draining = draining
        self._overloaded = overloaded

    def obstacle(self, submission: Submission, size: int, pieces: list[bytes] | None) -> Acceptance | None:
        """Why no new work with a body of so many bytes can be taken, if so."""
        route = submission.route
        lane = self._lanes.of(route.name)
        if self._draining():
            return Refused("draining", "this server takes no new work; another one will", 1)
        if (reason := self._overloaded()) is not None:
            return Refused("overloaded", f"{reason}; nothing was recorded or sent", 5)
        if (reason := self._means.health.refusal()) is not None:
            return self.without_store(submission, reason, pieces)
        if not submission.decision.accepts_202 and (shut := self._executor.shut(route.name)) is not None:
            # Who can only wait would be told 504 in the end, and its call be made all the same, some time.
            return Refused("overloaded", f"{shut.why}; nothing was recorded or sent", shut.retry_after)
        waiting, waiting_bytes = lane.waiting + lane.coming, lane.waiting_bytes + lane.coming_bytes
        if waiting >= route.call.queue:
            return Refused("overloaded", f"{waiting} requests wait for the upstream", lane.retry_after(route.call))
        if waiting_bytes + size > route.accept.queue_bytes:
            return Refused("overloaded", f"{waiting_bytes} bytes wait for the upstream", lane.retry_after(route.call))
        return None

    def full(self, route: Route) -> Refused:
        """Of those who came at once, also to other workers, others were first."""
        return Refused("overloaded", "the queue is full", self._lanes.of(route.name).retry_after(route.call))

    def without_store(self, submission: Submission, reason: str, pieces: Sequence[bytes] | None) -> Acceptance:
        """What becomes of a request while the store cannot record it."""
        route = submission.route
        if passes_without_store(submission):
            self._means.instrument.note("passed_without_record", "warning", route=route.name, reason=reason)
            return Pass(tuple(pieces or ()))
        return Refused("store-unavailable", "the request cannot be recorded now; nothing was sent", 5)


def passes_without_store(submission: Submission) -> bool:
    """Whether a request goes through where it cannot be recorded. Who wishes for a 202 takes the legacy answer as well:
    a wish may be left unheeded (RFC 7240 section 2)."""
    return submission.route.on_store_failure == "passthrough" and submission.decision.mode is Mode.COMPAT
