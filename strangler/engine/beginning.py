"""The beginning of a process: the commit of its acceptance, and with it of its claim where a slot is free."""

from __future__ import annotations

from collections.abc import Awaitable

from strangler.domain.exchange import RecordedRequest
from strangler.domain.idempotency import KeyRecord
from strangler.domain.steps import Accept, Claim
from strangler.domain.transitions import apply
from strangler.engine.attempt import Claimed
from strangler.engine.execute import Executor
from strangler.engine.keys import Key
from strangler.engine.lanes import Lane
from strangler.engine.means import Means
from strangler.engine.notify import Notifier
from strangler.engine.translating import Ready, evidence_of_sent
from strangler.policy.model import Route
from strangler.ports import Commit, Committed, QueueLimit, Verdict


class Beginning:
    """Takes a slot, or else a place in the queue, when it is made. What `submit` comes to goes to `on_disk`; where
    it fails later, `given_back` is called: once, whoever still waits for it.

    Args:
        key: under what a repeat is recognised, if at all.
        ready: the request as it is going to be sent, where its route translates it.
    """

    def __init__(
        self,
        means: Means,
        executor: Executor,
        notifier: Notifier,
        lane: Lane,
        route: Route,
        accepted: Accept,
        kept: RecordedRequest,
        key: Key | None = None,
        ready: Ready | None = None,
    ) -> None:
        self.route = route
        self._store = means.store
        self._executor = executor
        self._notifier = notifier
        self._lane = lane
        self._kept = kept
        self._ready = ready
        self._attempt = None
        draft = accepted.draft
        now = draft.created_at
        change = apply(None, accepted, now)
        sent = within = None
        self._reserved = executor.reserve(route)
        if self._reserved is not None:
            change = change.then(Claim(means.lease.owner), now)
            self._attempt = executor.begun(change.process, now)
            if ready is not None:
                sent = evidence_of_sent(self._attempt, kept, ready.request, now)
        else:
            lane.expect(1, kept.body.size)
            within = QueueLimit(route.call.queue, route.accept.queue_bytes)
        record = KeyRecord(key.scope, key.lookup, key.fingerprint, draft.id) if key is not None else None
        self._change = change
        self.process = change.process
        self._commit = Commit(change, request=kept, key=record, attempt=self._attempt, evidence=sent, within=within)

    def submit(self) -> Awaitable[Verdict]:
        """Have it committed."""
        try:
            return self._store.commit(self._commit)
        except BaseException:
            self.given_back()
            raise

    def on_disk(self, verdict: Verdict) -> Verdict:
        """The store has judged: what was committed is told, and called for or queued."""
        if not isinstance(verdict, Committed):
            self.given_back()
            return verdict
        self._notifier.committed(self._change)
        if self._attempt is not None and self._reserved is not None:
            claimed = Claimed(self.process, self._attempt, self._kept, self._reserved.term, self._ready)
            self._executor.start(claimed, self._reserved)
        else:
            self._lane.expect(-1, self._kept.body.size)
            self._executor.enqueue(self.process)
        return verdict

    def given_back(self) -> None:
        """Nothing was recorded: slot or place are free again."""
        if self._reserved is not None:
            self._executor.release(self._lane.route, self._reserved)
        else:
            self._lane.expect(-1, self._kept.body.size)
