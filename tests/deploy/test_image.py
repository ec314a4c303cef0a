"""The image, and the compose file that runs it."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from strangler.config.load import load_policy
from tests.deploy.material import (
    DEPLOY,
    ROOT,
    assert_it_drains_within,
    assert_it_refuses_before_it_is_killed,
    document,
    judged,
    served,
    tool,
)
from tests.harness.child import Child
from tests.harness.stage import Stage
from tests.harness.waiting import eventually

DOCKERFILE = DEPLOY / "Dockerfile"


def instructions() -> list[tuple[str, str]]:
    """Name and rest of each instruction, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines if line.strip())]


def last(name: str) -> str:
    """The one of the stage that is shipped."""
    return next(rest for found, rest in reversed(instructions()) if found == name)


def environment() -> dict[str, str]:
    """What ENV sets in the stage that is shipped."""
    return dict(pair.split("=", 1) for pair in shlex.split(last("ENV")))


def compose() -> dict[str, Any]:
    composed: dict[str, Any] = document("compose.yaml")
    return composed


def test_hadolint_finds_nothing() -> None:
    judged(tool("hadolint"), DOCKERFILE)


def test_the_schema_of_compose_files_holds() -> None:
    judged(tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml")


def test_what_goes_into_the_image_is_there_and_nothing_else_is_sent() -> None:
    copied = {
        source
        for name, rest in instructions()
        if name == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert ignored[1] == "*"
    assert {line[1:] for line in ignored if line.startswith("!")} == copied
    assert all((ROOT / source).exists() for source in copied)


def test_it_runs_as_nobody_and_is_asked_to_drain() -> None:
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last("USER"))
    assert last("STOPSIGNAL") == "SIGTERM"
    assert json.loads(last("ENTRYPOINT")) == ["strangler"]  # exec form: no shell between it and the signal


def test_the_settings_of_the_image_and_of_the_compose_file_are_understood() -> None:
    image, paths = served(json.loads(last("CMD")), environment())
    assert str(image.ops) == "127.0.0.1:9901"
    assert image.store.removeprefix("sqlite:///").startswith(last("VOLUME"))
    service = compose()["services"]["strangler"]
    settings, _ = served(json.loads(last("CMD")), {**environment(), **service["environment"]})
    assert_it_drains_within(service["stop_grace_period"], settings)
    assert_it_refuses_before_it_is_killed(service["mem_limit"], settings)
    targets = {volume.split(":")[1]: volume.split(":")[0] for volume in service["volumes"]}
    assert set(targets) == {str(path) for path in paths} | {last("VOLUME")}
    policy = load_policy([DEPLOY / targets["/etc/strangler/routes"]], service["environment"])
    assert [(upstream.host, upstream.port) for upstream in policy.table.upstreams.values()] == [("legacy", 8081)]
    assert "legacy" in compose()["services"]


def test_the_containers_have_no_rights_and_only_the_loopback_sees_them() -> None:
    for name, service in compose()["services"].items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name


def probe(port: int) -> int:
    """The exit code of the health check, asked of the operations listener at another port."""
    _, _, command = last("HEALTHCHECK").partition("CMD ")
    words = [word.replace("9901", str(port)) for word in json.loads(command)]
    assert words.pop(0) == "python"
    return subprocess.run([sys.executable, *words], capture_output=True, check=False, timeout=30).returncode


async def test_the_health_check_tells_a_server_that_lives_from_one_that_does_not(stage: Stage) -> None:
    server = stage.server('upstreams: {legacy: {url: "http://127.0.0.1:9"}}\ndefault: {upstream: legacy}\n')
    assert probe(server.ops_port) != 0
    await server.start()
    assert probe(server.ops_port) == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2"])
async def test_the_legacy_system_of_the_compose_file_starts_alone_on_any_address(stage: Stage, host: str) -> None:
    service = compose()["services"]["legacy"]
    database = stage.directory / "insurer.db"
    places = {"0.0.0.0": host, "/tmp/insurer.db": str(database)}
    legacy = Child("legacy", Path(stage.directory) / "legacy.log")
    stage.keep(legacy)
    command = [*service["entrypoint"], *(places.get(word, word) for word in service["command"]), "--port", "0"]
    legacy.spawn(command[1:])
    await eventually(lambda: f"listening on http://{host}:" in legacy.tail(), what="the legacy system listens")
    assert database.exists()
