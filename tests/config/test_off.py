"""`off` undoes, for one route, what `route_defaults` turns on for all of its file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from strangler.config.load import load_policy
from strangler.config.schema import Schema, policy_schema, resolved
from strangler.policy.model import Route
from tests.config.scene import UPSTREAM, errors, one_route, write

RECEIVER = 'receivers: {r: {url: "https://r.example/", secrets: [whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw]}}\n'
ASKS: Any = {"path": "/claims/{process.id}", "applied": {"status": 200}}


def wall(route: Route) -> Any:
    assert route.promise.wall is not None
    return route.promise.wall.wall


KEYS: dict[str, tuple[Any, Callable[[Route], Any]]] = {
    "rollout": ({"mode": "passthrough", "percent": 5}, lambda route: route.rollout),
    "translate": ({"request": {"method": "PUT"}}, lambda route: route.promise.wall),
    "translate.request": ({"method": "PUT"}, lambda route: wall(route).request),
    "translate.response": ({"body": "reply.body"}, lambda route: wall(route).responses),
    "deprecation": ({"since": "2026-01-31"}, lambda route: route.deprecation),
    "cors": ({"origins": ["https://a.example"]}, lambda route: route.cors),
    "limits": ({"accepts": "10/s", "by": "address"}, lambda route: route.limits),
    "redact": ({"headers": ["X-Secret"]}, lambda route: route.promise.redact),
    "rewrite": ({"add_prefix": "/legacy"}, lambda route: route.rewrite),
    "callbacks": ({"receivers": ["r"]}, lambda route: route.callbacks),
    "call.circuit": ({"failures": 3}, lambda route: route.call.circuit),
    "call.follow": ({"every": "5s"}, lambda route: route.call.follow),
    "call.probe": (ASKS, lambda route: route.call.probe),
    "call.probe.result": ({"status": 201}, lambda route: route.call.probe and route.call.probe.result),
    "access.jwt": ({"jwks": "keys.json"}, lambda route: route.access.jwt),
    "access.authorize": ({"path": "/may"}, lambda route: route.access.authorize),
}
BESIDE = {
    "translate.request": ("translate.reply", {"format": "json"}),
    "translate.response": ("translate.reply", {"format": "json"}),
    "call.probe.result": ("call.probe", ASKS),
}
"""What has to stand there too, so that there is something to see without the key."""


def put(into: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """A mapping with a value at a key, which may lie deep within it."""
    *way, last = key.split(".")
    place = into
    for step in way:
        place = place.setdefault(step, {})
    place[last] = value
    return into


def beside(key: str) -> dict[str, Any]:
    """See `BESIDE`."""
    if key not in BESIDE:
        return {}
    place, value = BESIDE[key]
    return put({}, place, {**value})


def loaded(folder: Path, defaults: dict[str, Any], *routes: dict[str, Any]) -> list[Route]:
    """The routes of a file, in their order; JSON is YAML."""
    named = [{"name": f"r{index}", "match": {"path": f"/{index}"}, **route} for index, route in enumerate(routes)]
    parts = [f"route_defaults: {json.dumps(defaults)}", f"routes: {json.dumps(named)}"]
    write(
        folder,
        '{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}',
        "keys.json",
    )
    table = load_policy([write(folder, UPSTREAM + RECEIVER + "\n".join(parts))], {}, public_url=True).table
    return [table.routes[route["name"]] for route in named]


@pytest.mark.parametrize("key", KEYS)
def test_a_route_does_without_what_its_file_turns_on_for_all(tmp_path: Path, key: str) -> None:
    on, read = KEYS[key]
    usual = {"upstream": "legacy", "mode": "async", **beside(key)}
    (without,) = loaded(tmp_path, usual, {})
    put(usual, key, on)
    with_it, off = loaded(tmp_path, usual, {}, put({}, key, "off"))
    assert read(with_it) != read(without) == read(off)


def switched(schema: Schema, path: str = "") -> Iterator[str]:
    for key, below in schema["properties"].items():
        below = resolved(below)
        if "x-off" in below:
            yield path + key
        if "properties" in below:
            yield from switched(below, f"{path}{key}.")


def test_these_are_the_keys_that_take_it() -> None:
    assert {*switched(policy_schema()["$defs"]["route"])} == {*KEYS}


@pytest.mark.parametrize("key", KEYS)
def test_another_word_is_none(tmp_path: Path, key: str) -> None:
    found = errors(tmp_path, one_route(json.dumps(put({}, key, "on"))[1:-1]))
    assert any(f"routes[0].{key}: expected a mapping" in line and 'or off, found "on"' in line for line in found), found


@pytest.mark.parametrize("key", KEYS)
def test_it_stands_in_for_a_variable_that_is_not_here(tmp_path: Path, key: str) -> None:
    policy = write(tmp_path, one_route(json.dumps(put(beside(key), key, "${env:NOT_HERE}"))[1:-1]))
    assert load_policy([policy], {}, offline=True).table.routes
    assert load_policy([policy], {"NOT_HERE": "off"}).table.routes
