"""What has to hold of deliveries: those that the history makes are there, and each is what its log tells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from strangler.domain.delivery import Delivery, DeliveryAttempt, DeliveryState, Tried
from strangler.store.ledger import Ledger
from strangler.store.retention import Part


class Fault(NamedTuple):
    """One thing that is wrong with the deliveries of a process."""

    wrong: str
    seen: object


def faults(ledger: Ledger, due: Sequence[Delivery]) -> Iterator[Fault]:
    """All that is wrong, where the history is sound and makes those that are ``due``."""
    names = {made.id: _made(made) for made in due}
    held = {delivery.id: _made(delivery) for delivery in ledger.deliveries}
    if missing := [name for name in names if name not in held]:
        yield Fault(f"its deliveries {', '.join(missing)} are missing", missing)
    if strange := [name for name in held if names.get(name) != held[name]]:
        yield Fault(f"its deliveries {', '.join(strange)} are not those that its history makes", strange)
    logs: dict[str, list[DeliveryAttempt]] = {delivery.id: [] for delivery in ledger.deliveries}
    loose: set[str] = set()
    for line in ledger.delivery_log:
        name = f"{line.process_id}-{line.version}-{line.position}"
        if name in logs:
            logs[name].append(line)
        elif name not in names:  # else the delivery is missing, which was told
            loose.add(name)
    if loose:
        yield Fault(f"the log tells of deliveries that there are not: {', '.join(sorted(loose))}", sorted(loose))
    asked = {exception.subject for exception in ledger.exceptions if exception.kind == "dead_delivery"}
    forgotten = Part.DELIVERIES in ledger.gone and ledger.process.retain_deliveries is not None
    for delivery in ledger.deliveries:
        if not forgotten and (wrong := _against(delivery, logs[delivery.id])) is not None:
            yield Fault(f"its delivery {delivery.id} {wrong}", (wrong, delivery))
        elif delivery.state is DeliveryState.DEAD and delivery.id not in asked:
            yield Fault(f"its delivery {delivery.id} is dead, and nobody was asked to look", delivery.id)


def _made(delivery: Delivery) -> tuple[object, ...]:
    """What is settled of a delivery when it is made."""
    return delivery.receiver, delivery.url, delivery.told, delivery.created_at


def _against(delivery: Delivery, log: list[DeliveryAttempt]) -> str | None:
    """What is wrong with a delivery against its log, or None."""
    numbers = [line.number for line in log]
    if numbers != [*range(1, delivery.tries + 1)]:
        return f"counts {delivery.tries} attempts, its log has {numbers}"
    taken = bool(log) and log[-1].outcome is Tried.DELIVERED
    if delivery.state is DeliveryState.DELIVERED and not taken:
        return "is delivered, its log does not say so"
    if delivery.state is DeliveryState.DEAD and taken:
        return "is dead, its log says that it was delivered"
    if (delivery.due_at is not None) is not (delivery.state is DeliveryState.PENDING):
        return f"is {delivery.state}, and due {'never' if delivery.due_at is None else 'some time'}"
    return None
