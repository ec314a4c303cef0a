"""One policy for all workers: whoever reads the files has each of them load the same, and then switch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from strangler.config.load import Loaded
from strangler.engine.instrument import Instrument
from strangler.store.remote.host import Guest

_PATIENCE = 10.0  # seconds for a worker to load a policy, or to switch

_LEFT = object()


class Following:
    """Has connected workers run what is in force here (`policies.Followers`).

    Args:
        members: the workers that are connected and not given up.
    """

    def __init__(self, members: Callable[[], Iterable[Guest]], instrument: Instrument) -> None:
        self._members = members
        self._instrument = instrument
        self._number = 0
        self._asked: dict[int, tuple[Guest, asyncio.Future[Any]]] = {}
        self._revisions: dict[Guest, str] = {}  # that each of them runs
        self._next: Loaded | None = None
        self._prepared: list[tuple[Guest, int]] = []
        self.current: Loaded | None = None

    async def prepare(self, loaded: Loaded) -> Sequence[str]:
        """See `Followers.prepare`."""
        members = list(self._members())
        answers = await asyncio.gather(*(self._ask_to_load(guest, loaded) for guest in members))
        self._next = loaded
        self._prepared = [(guest, number) for guest, (number, reasons) in zip(members, answers, strict=True)]
        return list(dict.fromkeys(reason for _, reasons in answers for reason in reasons))

    async def switch(self) -> None:
        """See `Followers.switch`."""
        assert self._next is not None
        self.current = self._next
        await asyncio.gather(*(self._ask_to_switch(guest, number, self.current) for guest, number in self._prepared))
        # Whoever came in between has what was in force then.
        await asyncio.gather(*(self.bring(guest) for guest in self._members()))

    async def bring(self, guest: Guest) -> None:
        """Have one worker run what is in force, whatever it runs now."""
        while guest in self._members() and (loaded := self.current) is not None:
            if self._revisions.get(guest) == loaded.table.revision:
                return
            number, reasons = await self._ask_to_load(guest, loaded)
            if reasons:
                # It cannot serve; it ends by itself, and another one tries again.
                self._instrument.note("policy_not_followed", "error", worker=guest.owner, reason="\n".join(reasons))
                return
            await self._ask_to_switch(guest, number, loaded)

    def runs(self, guest: Guest, revision: str) -> None:
        """A worker says what it runs."""
        self._revisions[guest] = revision

    def answered(self, number: int, answer: Any) -> None:
        """A worker has loaded (the answer says what stood in the way), or switched."""
        asked = self._asked.pop(number, None)
        if asked is not None and not asked[1].done():
            asked[1].set_result(answer)

    def left(self, guest: Guest) -> None:
        """A worker is gone: nobody waits for it."""
        self._revisions.pop(guest, None)
        for number in [number for number, (other, _) in self._asked.items() if other is guest]:
            self.answered(number, _LEFT)

    async def _ask_to_load(self, guest: Guest, loaded: Loaded) -> tuple[int, Sequence[str]]:
        files, contents = loaded.sources
        number, answer = await self._ask(guest, "prepare", loaded.table.revision, list(files), dict(contents))
        if answer is None:
            return number, [f"worker {guest.owner} did not load it within {_PATIENCE:g} s"]
        return number, [] if answer is _LEFT else answer

    async def _ask_to_switch(self, guest: Guest, prepared: int, loaded: Loaded) -> None:
        _, answer = await self._ask(guest, "switch", prepared)
        if answer is None:
            self._instrument.note("policy_not_followed", "error", worker=guest.owner, reason="it does not answer")
        elif answer is True:  # else it left, or what it had prepared gave way to another one, and it is asked again
            self._revisions[guest] = loaded.table.revision

    async def _ask(self, guest: Guest, *message: Any) -> tuple[int, Any]:
        """Ask one worker. The answer is None where it gives none."""
        self._number += 1
        number = self._number
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._asked[number] = (guest, future)
        guest.tell(message[0], number, *message[1:])
        try:
            return number, await asyncio.wait_for(future, _PATIENCE)
        except TimeoutError:
            self._asked.pop(number, None)
            return number, None
