"""The operations API put together: which rooms answer an operator. The same for one worker and for several."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from strangler.config.settings import Settings
from strangler.config.system import SystemIds
from strangler.domain.errors import OperatorError
from strangler.engine.commands import Commands
from strangler.engine.instrument import QueueReading
from strangler.engine.notify import Notifier
from strangler.engine.pauses import Pauses
from strangler.engine.retrying import Retries
from strangler.engine.supervise import Executes
from strangler.operations import progress
from strangler.operations.api import audit, changes, deliveries, draining, processes, public, routes, shedding
from strangler.operations.api.endpoint import Endpoint
from strangler.operations.api.serving import Backing
from strangler.operations.api.tokens import Tokens, pass_path
from strangler.operations.application import Health, Operations, Phase
from strangler.operations.metrics import Counts
from strangler.operations.telemetry import Telemetry
from strangler.policy.model import Promise
from strangler.ports import Clock
from strangler.runtime.intake import Intake
from strangler.runtime.policies import Policies, PolicyInForce
from strangler.runtime.review import Review
from strangler.runtime.standing import StandingOrders
from strangler.runtime.telling import Telling
from strangler.store import Store
from strangler.store.open import store_path


class Reach(NamedTuple):
    """What the endpoints reach, from whoever serves them."""

    store: Store
    clock: Clock
    pauses: Pauses
    policies: Policies
    queues: Callable[[], Mapping[str, QueueReading]]
    notifier: Notifier
    executes: Executes
    orders: StandingOrders
    intake: Intake
    phase: Callable[[], Phase]
    review: Review
    telling: Telling


def opened(
    reach: Reach,
    settings: Settings,
    telemetry: Telemetry,
    degraded: Callable[[], Mapping[str, str]],
    scrape: Callable[[], Awaitable[Counts]] | None = None,
) -> tuple[Pass, Operations]:
    """What operators are served with, and the token of this machine's command line.

    Args:
        degraded, scrape: as of `Health` and `Operations`.

    Raises:
        OperatorError: the file of tokens cannot be read, or is wrong.
    """
    backing = _backing(settings, reach, telemetry)
    operations = Operations(
        telemetry,
        Health(reach.phase, degraded),
        reach.policies.reload,
        settings.ops_host,
        scrape,
        backing=backing,
        endpoints=_endpoints(reach),
    )
    return Pass(settings, backing.tokens), operations


def _endpoints(reach: Reach) -> tuple[Endpoint, ...]:
    """All endpoints but those of the listener itself."""
    store, policies, telling = reach.store, reach.policies, reach.telling
    commands = Commands(store, reach.notifier, reach.clock)
    retries = _retries(reach)
    to_tell = deliveries.DeliveryDesk(
        store.deliveries, telling.deliverer, telling.redriver, policies.receivers, reach.clock
    )
    return (
        *processes.endpoints(_sources(reach)),
        *changes.endpoints(
            store.process,
            commands.cancel,
            lambda process_id, force: retries.retry(process_id, force=force),
            policies.promise_of,
        ),
        progress.endpoint(commands.report),
        *reach.review.endpoints(policies.promise_of),
        *deliveries.endpoints(to_tell),
        *audit.endpoints(store),
        *shedding.endpoints(store),
        *routes.endpoints(routes.RouteDesk(policies.routes, reach.queues, reach.orders)),
        *public.endpoints(policies.routes, version("strangler")),
        *draining.endpoints(reach.intake.drain, reach.intake.undrain, reach.phase),
    )


def _retries(reach: Reach) -> Retries:
    store, policies = reach.store, reach.policies
    return Retries(
        store,
        store,
        store,
        store,
        reach.notifier,
        reach.clock,
        SystemIds(),
        route_of=policies.route_of,
        revision=policies.revision,
        wake=reach.executes.wake,
    )


def _sources(reach: Reach) -> processes.Sources:
    store, policies = reach.store, reach.policies
    return processes.Sources(
        store,
        store,
        store,
        store,
        store.deliveries,
        policies.promise_of,
        policies.all_promises,
        lambda name: _today(policies, name),
        lambda process: reach.pauses.shown(process, reach.clock.now()),
        reach.orders.waits_for,
    )


def _today(policies: PolicyInForce, name: str) -> Promise | None:
    route = policies.route_of(name)
    return route.promise if route is not None else None


def _backing(settings: Settings, reach: Reach, telemetry: Telemetry) -> Backing:
    """What the frame of the endpoints stands on."""

    def trouble(reason: str) -> None:
        telemetry.note("tokens_refused", "error", reason=reason)

    def barred(command: str, code: str) -> None:
        telemetry.note("command_barred", "warning", command=command, code=code)

    path = None if settings.ops_tokens is None else Path(settings.ops_tokens)
    return Backing(Tokens(path, trouble), reach.store, reach.clock.now, telemetry.failed, barred)


class Pass:
    """The token of the command line of this machine: a file beside the store that only its owner can read.

    Without a store on a disk there is none: the command line then needs a named token.
    """

    def __init__(self, settings: Settings, tokens: Tokens) -> None:
        path = store_path(settings.store)
        self._path = None if path is None else pass_path(path)
        self._tokens = tokens

    def write(self, address: str) -> None:
        """A new token, with where operations listen, in place of the one of an earlier start.

        Raises:
            OperatorError: the file cannot be written.
        """
        if self._path is None:
            return
        text = json.dumps({"token": self._tokens.make(), "ops": address, "pid": os.getpid()}) + "\n"
        draft = self._path.with_name(f"{self._path.name}.{secrets.token_hex(8)}")
        try:
            descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(text)
            os.replace(draft, self._path)
        except OSError as error:
            raise OperatorError(f"{self._path}: {error.strerror}; it would hold the command line's token") from error

    def forget(self) -> None:
        """Nobody serves here any more."""
        if self._path is not None:
            with contextlib.suppress(OSError):
                if json.loads(self._path.read_text("ascii")).get("pid") == os.getpid():
                    self._path.unlink()
