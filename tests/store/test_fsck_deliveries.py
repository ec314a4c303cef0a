"""Deliveries against the history that made them, and against their log: each fault is found, and told once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from strangler.domain.delivery import Delivery, Redrive, Taken, Tried, write_subscriptions
from strangler.domain.process import Process
from strangler.domain.steps import Cancel
from strangler.ports import OpenException
from strangler.store import Store
from strangler.store.ids import id_bytes
from strangler.store.open import open_store
from strangler.store.sealing import AesGcmSealer
from tests.store import builders as make
from tests.store import test_delivery_conformance as deliveries
from tests.store.builders import DAY, HOUR, NOON, FakeClock, after
from tests.store.test_fsck import findings as all_findings
from tests.store.test_fsck import found, tamper


async def dead(store: Store) -> Process:
    """A process whose receiver never took what it was told, and which somebody was asked to look at."""
    process = await deliveries.ended(store, deliveries.TO_A)
    delivery = await deliveries.only(store, process)
    for limit in (2, 2):
        delivery = await deliveries.step(store, delivery, deliveries.missed(limit), attempt=line(delivery))
    assert await store.exceptions.open(OpenException(process.id, "dead_delivery", NOON, "gave up", delivery.id))
    return process


async def delivered(store: Store) -> Process:
    """A process of which its receiver was told, at the second attempt, and once more."""
    process = await deliveries.ended(store, deliveries.TO_A)
    delivery = await deliveries.only(store, process)
    delivery = await deliveries.step(store, delivery, deliveries.missed(), attempt=line(delivery))
    taken = line(delivery, outcome=Tried.DELIVERED, status=204)
    delivery = await deliveries.step(store, delivery, Taken(), attempt=taken)
    delivery = await deliveries.step(store, delivery, Redrive())
    taken = line(delivery, outcome=Tried.DELIVERED, status=204)
    await deliveries.step(store, delivery, Taken(), attempt=taken)
    return process


def line(delivery: Delivery, **fields: Any) -> Any:
    return deliveries.attempt(delivery, **fields)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/strangler.db"


@pytest.fixture
async def processes(url: str, clock: FakeClock) -> dict[str, Process]:
    """A store with deliveries in every place, closed, in which nothing is wrong."""
    store = open_store(url, AesGcmSealer(b"k" * 32), clock)
    await make.promise(store)
    filled = {
        "dead": await dead(store),
        "delivered": await delivered(store),
        "pending": await deliveries.ended(store, deliveries.TO_A, deliveries.NAMED),
        "early": await deliveries.ended(store, deliveries.EARLY),
        "nobody": await deliveries.ended(store),
    }
    await store.close()
    return filled


def test_deliveries_that_are_sound_have_no_finding(url: str, processes: dict[str, Process]) -> None:
    with pytest.raises(ValueError, match="not enough values"):
        found(url)


DAMAGE = [
    ("pending", "DELETE FROM delivery WHERE process_id = ? AND position = 1", "its deliveries {}-2-1 are missing"),
    (
        "pending",
        "UPDATE delivery SET receiver = 'thief' WHERE process_id = ? AND position = 0",
        "its deliveries {}-2-0 are not those that its history makes",
    ),
    (
        "pending",
        "UPDATE delivery SET state = 'delivered', due_at = NULL WHERE process_id = ? AND position = 0",
        "its delivery {}-2-0 is delivered, its log does not say so",
    ),
    (
        "pending",
        "UPDATE delivery SET due_at = NULL WHERE process_id = ? AND position = 0",
        "its delivery {}-2-0 is pending, and due never",
    ),
    (
        "delivered",
        "DELETE FROM delivery_attempt WHERE process_id = ? AND number = 2",
        "its delivery {}-2-0 counts 3 attempts, its log has [1, 3]",
    ),
    (
        "delivered",
        "DELETE FROM delivery_attempt WHERE process_id = ? AND number = 3",
        "its delivery {}-2-0 counts 3 attempts, its log has [1, 2]",
    ),
    (
        "delivered",
        "UPDATE delivery_attempt SET outcome = 'refused' WHERE process_id = ? AND number = 3",
        "its delivery {}-2-0 is delivered, its log does not say so",
    ),
    (
        "dead",
        "UPDATE delivery_attempt SET outcome = 'delivered' WHERE process_id = ? AND number = 2",
        "its delivery {}-2-0 is dead, its log says that it was delivered",
    ),
    (
        "dead",
        "DELETE FROM exception WHERE process_id = ?",
        "its delivery {}-2-0 is dead, and nobody was asked to look",
    ),
]


@pytest.mark.parametrize(("name", "change", "wrong"), DAMAGE)
def test_a_delivery_that_is_not_what_history_and_log_tell_is_found(
    url: str, processes: dict[str, Process], name: str, change: str, wrong: str
) -> None:
    process = processes[name]
    tamper(url, change, id_bytes(process.id))
    assert found(url) == (process.id, wrong.format(process.id))


def test_a_log_is_not_told_beside_its_delivery_that_is_missing(url: str, processes: dict[str, Process]) -> None:
    process = processes["delivered"]
    tamper(url, "DELETE FROM delivery WHERE process_id = ?", id_bytes(process.id))
    assert found(url) == (process.id, f"its deliveries {process.id}-2-0 are missing")


def test_a_log_of_what_was_never_made_is_found(url: str, processes: dict[str, Process]) -> None:
    process = processes["delivered"]
    tamper(
        url,
        "UPDATE delivery_attempt SET position = 7, number = 9 WHERE process_id = ? AND number = 3",
        id_bytes(process.id),
    )
    findings = [finding.wrong for finding in all_findings(url)]
    assert f"the log tells of deliveries that there are not: {process.id}-2-7" in findings


async def test_a_log_that_the_policy_had_forgotten_is_no_finding_and_one_that_is_kept_longer_has_to_be_whole(
    url: str, clock: FakeClock
) -> None:
    store = open_store(url, AesGcmSealer(b"k" * 32), clock)
    await make.promise(store)
    for retain_deliveries in (HOUR, DAY):
        fields = {"subscriptions": write_subscriptions([deliveries.TO_A]), "retain_deliveries": retain_deliveries}
        accepted = await deliveries.done(store, make.accept(make.draft(**fields)))
        process = after(await deliveries.done(store, make.withdraw(after(accepted), Cancel(), NOON)))
        delivery = await deliveries.only(store, process)
        taken = line(delivery, outcome=Tried.DELIVERED, status=204)
        await deliveries.step(store, delivery, Taken(), attempt=taken)
    assert await store.sweep(NOON + HOUR, 10) == 1
    await store.close()
    assert all_findings(url) == []
    tamper(url, "DELETE FROM delivery_attempt")
    assert found(url) == (process.id, f"its delivery {process.id}-2-0 counts 1 attempts, its log has []")


def test_a_log_that_is_forgotten_although_nobody_said_so_is_found(url: str, processes: dict[str, Process]) -> None:
    process = processes["delivered"]
    tamper(url, "DELETE FROM delivery_attempt WHERE process_id = ?", id_bytes(process.id))
    tamper(url, "UPDATE process SET gone = 4 WHERE id = ?", id_bytes(process.id))
    assert found(url) == (process.id, f"its delivery {process.id}-2-0 counts 3 attempts, its log has []")
