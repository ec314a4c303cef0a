"""The policy in force: loaded whole, swapped whole; and the promises under which processes of earlier ones live."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from strangler.config import promise as promises
from strangler.config.environment import ENVIRONMENT
from strangler.config.files import Stamps
from strangler.config.load import Loaded, Sources, load_policy
from strangler.config.located import PolicyErrors
from strangler.config.settings import Settings
from strangler.config.watch import refusal, watch
from strangler.domain.errors import StoreUnavailable
from strangler.engine.instrument import Instrument
from strangler.operations.application import Reloaded, ReloadRefused
from strangler.policy.match import Matcher, compile_table
from strangler.policy.model import Promise, Route, Table
from strangler.policy.receivers import Receiver
from strangler.policy.standing import ModeOrder, in_force, obstacle
from strangler.ports import Archive, Clock
from strangler.runtime import last_good
from strangler.store.open import store_path

ChangeOrders = Callable[[Sequence[ModeOrder]], Iterable[ModeOrder]]

_REVISION = 16  # digits of a revision that are kept with a process


class TakesTable(Protocol):
    """Who is to know the table in force."""

    def load(self, table: Table, matcher: Matcher, remembered: frozenset[str]) -> None:
        """Put it in force."""
        ...


class Followers(Protocol):
    """Other workers, which run what is in force here."""

    async def prepare(self, loaded: Loaded) -> Sequence[str]:
        """Have all of them load it; what stands in the way, for people."""
        ...

    async def switch(self) -> None:
        """Have all of them put in force what they prepared."""
        ...


def read_policy(
    settings: Settings, paths: Sequence[Path], environ: Mapping[str, str], kept: Sources | None = None
) -> Loaded:
    """The policy as its files have it, or as ``kept``. Blocks.

    Raises:
        PolicyErrors: it does not load.
    """
    # A flag may have taken the identity key from a variable.
    key_from = {name for name, value in environ.items() if value == settings.identity_key}
    return load_policy(
        paths,
        environ,
        lease=settings.lease,
        kept=kept,
        public_url=settings.public_url is not None,
        referenced=key_from,
    )


def read_first(settings: Settings, paths: Sequence[Path], environ: Mapping[str, str]) -> Loaded | PolicyErrors:
    """The policy as its files have it, before a store is opened or made for it; or what is wrong with it, where the
    store may hold one to run in its place. Blocks.

    Raises:
        PolicyErrors: the files do not load, and no earlier policy is to be run.
    """
    try:
        return read_policy(settings, paths, environ)
    except PolicyErrors as error:
        store = store_path(settings.store)
        if settings.on_bad_policy == "last-good" and store is not None and store.exists():
            return error
        raise


class PolicyInForce:
    """The table in force, and the promises of this and earlier ones."""

    def __init__(self, archive: Archive, instrument: Instrument, clock: Clock, on_change: Callable[[], None]) -> None:
        self._archive = archive
        self._instrument = instrument
        self._clock = clock
        self._on_change = on_change
        self._promises: dict[str, Promise] = {}
        self.loaded: Loaded | None = None
        self.orders: Sequence[ModeOrder] = ()  # that stand over what was loaded
        self.table: Table | None = None  # the two together: what is in force

    def route_of(self, name: str) -> Route | None:
        """A route of the table in force."""
        return self.table.routes.get(name) if self.table is not None else None

    def routes(self) -> list[Route]:
        """The routes of the table in force, in its order."""
        return list(self.table.routes.values()) if self.table is not None else []

    def receivers(self) -> Mapping[str, Receiver]:
        """The receivers of callbacks of the table in force."""
        return self.table.receivers if self.table is not None else {}

    def may_have_processes(self, name: str) -> bool:
        """Whether a route records, or did so once."""
        route = self.route_of(name)
        return (route is not None and route.records) or any(p.route == name for p in self._promises.values())

    def revision(self) -> str | None:
        """What is kept with a process of the policy under which it was accepted."""
        return self.loaded.table.revision[:_REVISION] if self.loaded is not None else None

    def all_promises(self) -> list[Promise]:
        """All promises that are known."""
        return list(self._promises.values())

    def promise_of(self, digest: str) -> Promise | None:
        """A promise, of today or kept."""
        return self._promises.get(digest)

    def promises_of(self, resource: str) -> list[Promise]:
        """All promises whose processes lie under a resource path."""
        return [promise for promise in self._promises.values() if promise.process.resource == resource]

    async def recollect(self) -> None:
        """Take up the promises of earlier policies.

        Raises:
            StoreUnavailable: the store can be neither read nor written.
        """
        for digest, text in (await self._archive.load("promise")).items():
            try:
                self._promises[digest] = promises.read(digest, text)
            except ValueError as error:
                # Its processes cannot be shown, and are reviewed when in doubt; nothing is guessed.
                self._instrument.note("promise_unreadable", "error", promise=digest, reason=str(error))

    def put_in_force(self, loaded: Loaded, switch: TakesTable) -> None:
        """Switch to a table whose promises are on disk."""
        self.loaded = loaded
        self._apply(loaded, switch)
        table = loaded.table
        recording = [route.name for route in self.routes() if route.records]
        self._instrument.policy_loaded(table.revision, len(table.routes), [*table.routes], recording)
        self._on_change()

    def put_over(self, orders: Sequence[ModeOrder], switch: TakesTable) -> None:
        """Follow these orders, whose promises are on disk, and no others."""
        self.orders = orders
        if self.loaded is not None:
            self._apply(self.loaded, switch)
            self._on_change()

    def _apply(self, loaded: Loaded, switch: TakesTable) -> None:
        table = in_force(loaded.table, self.orders, self._clock.now())
        self._promises |= {route.promise.digest: route.promise for route in self._promising(table)}
        kept = {promise.process.resource for promise in self._promises.values()}
        matcher = compile_table(table, sorted(kept))
        self.table = table
        switch.load(table, matcher, frozenset(promise.route for promise in self._promises.values()))

    def _promising(self, table: Table) -> list[Route]:
        """The routes of a table under which processes are accepted: new ones, or, where a route recorded once, those
        that operators try once more."""
        once = {promise.route for promise in self._promises.values()}
        return [route for route in table.routes.values() if route.records or route.name in once]


class Policies(PolicyInForce):
    """Loads policies and keeps promises.

    Args:
        on_change: told after a table came into force.
        followers: who is to have it in force as well, before a reload is answered; None: nobody.
    """

    def __init__(
        self,
        settings: Settings,
        paths: Sequence[Path],
        environ: Mapping[str, str],
        archive: Archive,
        instrument: Instrument,
        clock: Clock,
        on_change: Callable[[], None],
        followers: Followers | None = None,
    ) -> None:
        super().__init__(archive, instrument, clock, on_change)
        self._settings = settings
        self._paths = paths
        self._environ = environ
        self._followers = followers
        self._loading = asyncio.Lock()
        self._switch: TakesTable | None = None
        self._seen: Stamps = {}
        self._refused_first: str | None = None  # why the last good policy runs in place of the files

    def read(self) -> Loaded:
        """Read the files. Blocks.

        Raises:
            PolicyErrors: they do not load.
        """
        return read_policy(self._settings, self._paths, self._environ)

    async def first(self, found: Loaded | PolicyErrors) -> Loaded:
        """The policy to start with: what `read_first` found, or the last one that was good in its place.

        Raises:
            PolicyErrors: the files do not load, and there is no earlier policy, or none that does load.
        """
        if isinstance(found, Loaded):
            return found
        loaded = await self._last_good()
        if loaded is None:
            raise found
        self._refused_first = str(found)
        # The files as they lie there do not load; they are read again as soon as they change.
        return replace(loaded, stamps=found.stamps)

    async def restored(self) -> Loaded | None:
        """What was in force when an earlier process died, which stays so; the files are looked at right after.

        None: nothing was kept.

        Raises:
            PolicyErrors: it does not load any more.
        """
        loaded = await self._last_good()
        return replace(loaded, stamps=dict.fromkeys(loaded.stamps)) if loaded is not None else None

    async def _last_good(self) -> Loaded | None:
        kept = await last_good.recall(self._archive)
        if kept is None:
            return None
        return await asyncio.to_thread(read_policy, self._settings, self._paths, self._environ, kept)

    async def begin(self, loaded: Loaded, switch: TakesTable) -> None:
        """Take up the promises of earlier policies, then put the first table in force.

        Raises:
            StoreUnavailable: the store can be neither read nor written.
        """
        self._switch = switch
        self._seen = loaded.stamps
        await self.recollect()
        await self._enforce(loaded)
        for finding in loaded.warnings:
            if finding.place == ENVIRONMENT:
                self._instrument.note("variable_unknown", "warning", detail=finding.text)
        if self._refused_first is not None:
            self._instrument.policy_refused(self._refused_first)

    async def reload(self, *, explicit: bool = True) -> Reloaded | ReloadRefused:
        """Read the files again and switch, or say why not; then the table in force stays.

        ``explicit``: somebody asked for it; else files changed on disk.
        """
        async with self._loading:
            if self.loaded is None:
                return ReloadRefused([{"detail": "it is starting; ask again"}])
            before = self.loaded.table
            try:
                loaded = await asyncio.to_thread(self.read)
                self._seen = loaded.stamps
                reason = refusal(before, loaded.table, explicit=explicit)
                if reason is not None:
                    return self._refused([{"detail": reason}])
                await self._enforce(loaded)
            except PolicyErrors as error:
                self._seen = error.stamps
                return self._refused([{"detail": str(finding)} for finding in error.findings])
            except _NotFollowed as error:
                return self._refused([{"detail": reason} for reason in error.reasons])
            except StoreUnavailable as error:
                return self._refused([{"detail": f"its promises cannot be kept now: {error}"}])
            warnings = [str(warning) for warning in loaded.warnings]
            warnings += self._told_of_keys_left(name for name in before.routes if name not in loaded.table.routes)
            return Reloaded(loaded.table.revision, len(loaded.table.routes), warnings)

    async def watch(self) -> None:
        """Reload whenever a file of the policy has changed, for ever; a defect of ours is told, and ends nothing."""

        async def reload() -> Stamps | None:
            try:
                await self.reload(explicit=False)
            except Exception as error:
                self._instrument.failed("reload", error)
                return None
            return self._seen

        await watch(self._paths, self._seen, reload)

    def _told_of_keys_left(self, gone: Iterable[str]) -> Iterator[str]:
        """Keys are a route's, by its name: a repeat that falls on another one, or on none, is a new request there."""
        for name in gone:
            if self.may_have_processes(name):
                text = (
                    "it left the policy: repeats with keys that it knows are new requests; as passthrough it knows them"
                )
                self._instrument.note("route_left", "warning", route=name, detail=text)
                yield f"route {name}: {text}"

    def _refused(self, errors: list[dict[str, str]]) -> ReloadRefused:
        self._instrument.policy_refused("\n".join(error["detail"] for error in errors))
        return ReloadRefused(errors)

    async def _enforce(self, loaded: Loaded) -> None:
        assert self._switch is not None
        await self._save_promises(loaded, self.orders)
        if self._followers is not None and (reasons := await self._followers.prepare(loaded)):
            raise _NotFollowed(reasons)
        await last_good.keep(self._archive, None if loaded.holds_secrets else loaded.sources)
        self.put_in_force(loaded, self._switch)
        if self._followers is not None:
            await self._followers.switch()

    # Standing orders.

    def obstacle(self, order: ModeOrder) -> str | None:
        """Why an order cannot be followed, for people; None: it can."""
        return obstacle(self.loaded.table, order.route, order.mode) if self.loaded is not None else None

    async def follow(
        self, change: ChangeOrders, kept: Callable[[], Awaitable[None]] | None = None
    ) -> Sequence[ModeOrder]:
        """Follow, from now on, what ``change`` makes of the orders that stand by then; ``kept`` has it on disk.

        Returns:
            those that stood.

        Raises:
            StoreUnavailable: what is promised under them, or they themselves, cannot be kept, or no policy is in force
                yet; nothing has changed.
        """
        async with self._loading:
            if self._switch is None or self.loaded is None:
                raise StoreUnavailable("no policy is in force yet; ask again")
            stood = self.orders
            orders = sorted(change(stood))
            await self._save_promises(self.loaded, orders)
            if kept is not None:
                await kept()
            self.put_over(orders, self._switch)
            return stood

    async def _save_promises(self, loaded: Loaded, orders: Sequence[ModeOrder]) -> None:
        # A promise is on disk before the first process that is accepted under it.
        for route in self._promising(in_force(loaded.table, orders, self._clock.now())):
            if route.promise.digest not in self._promises:
                await self._archive.save("promise", route.promise.digest, loaded.promises[route.promise.digest])


class _NotFollowed(Exception):
    """Some worker cannot run what was loaded."""

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__(*reasons)
        self.reasons = reasons
