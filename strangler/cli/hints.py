"""A wish that nothing can ever meet is told, and not taken for "there is none"."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from strangler.cli.asking import Ops
from strangler.config.located import nearest


def unmet(ops: Ops, wishes: Mapping[str, Any]) -> list[str]:
    """What may be why nothing was found: names that the policy in force does not have, and what is found nowhere.

    Args:
        wishes: of a list that turned out empty, by the names of the API; what is None was not wished.

    Raises:
        AskFailed: the server does not say what it has.
    """
    told = []
    if any(wishes.get(name) is not None for name in ("route", "reference")):
        # A server of an earlier release does not say what its routes have for references.
        routes = {route["name"]: route.get("references", ["?"]) for route in ops.get("/routes")["routes"]}
        if wishes.get("route") is not None:
            told += _unknown("--route", wishes["route"], routes)
        if wishes.get("reference") is not None and not any(routes.values()):
            told.append("--reference: no route of the policy in force has `process.references`")
    if wishes.get("receiver") is not None:
        receivers = [one["name"] for one in ops.get("/receivers")["receivers"]]
        told += _unknown("--receiver", wishes["receiver"], receivers)
    if wishes.get("caller") is not None:
        told.append("--caller: a caller has a name where its route has `access.name`")
    return told


def _unknown(flag: str, name: str, known: Collection[str]) -> list[str]:
    return [] if name in known else [f"{flag}: the policy in force has no {name}; {nearest(name, known)}"]
