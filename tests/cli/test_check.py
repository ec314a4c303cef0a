from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from strangler.cli import main
from tests.config.scene import UPSTREAM, one_route, write

ROUTES = Path(__file__).parents[2] / "routes"
UNWISE = one_route("access: {identity: ['header:X']}\npublic_url: 'https://a.example'\nwait: 1s", mode="compat")


def test_a_policy_that_loads_is_exit_code_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(write(tmp_path, UPSTREAM + "default: {upstream: legacy}"))]) == 0
    assert capsys.readouterr().out == "0 routes, 1 upstream, 0 warnings\n"


def test_warnings_are_told_and_fail_only_under_strict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = str(write(tmp_path, UNWISE))
    assert main(["check", policy]) == 0
    assert "warning: routes[0].wait: " in capsys.readouterr().out
    assert main(["check", "--strict", policy]) == 1
    assert "1 warning; with --strict, warnings fail" in capsys.readouterr().err


def test_garbage_cycles_are_hardly_looked_for_while_a_large_policy_loads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    routes = "".join(f"  - {{name: r{n}, match: {{path: /r{n}}}, upstream: legacy}}\n" for n in range(200))
    policy = str(write(tmp_path, f"{UPSTREAM}routes:\n{routes}"))
    usual, looks = gc.get_threshold(), [0]

    def looked(phase: str, _: object) -> None:
        looks[0] += phase == "start"

    gc.callbacks.append(looked)
    try:
        gc.set_threshold(700, 10, 10)  # as Python begins
        assert main(["check", policy]) == 0
    finally:
        gc.callbacks.remove(looked)
        gc.set_threshold(*usual)
    assert capsys.readouterr().out.startswith("200 routes")
    assert looks[0] < 10


def test_paths_may_stand_before_flags_and_behind_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = str(write(tmp_path, UPSTREAM, "one.yaml"))
    two = str(write(tmp_path, "default: {upstream: legacy}", "two.yaml"))
    assert main(["check", one, "--strict", two]) == 0
    assert capsys.readouterr().out == "0 routes, 1 upstream, 0 warnings\n"
    for no_flag in ("--strikt", "--stric"):
        with pytest.raises(SystemExit) as raised:
            main(["check", one, no_flag, two])
        assert raised.value.code == 2
        assert f"unrecognized arguments: {no_flag}" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["check", "store usage", "exceptions list"])
def test_who_gives_an_unknown_argument_is_shown_the_usage_of_what_was_asked(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([*command.split(), "--bogus", *(["here"] if command == "check" else [])])
    said = capsys.readouterr().err
    assert said.startswith(f"usage: strangler {command} [-h]")
    assert f"`strangler {command} --help`" in said


@pytest.mark.parametrize("command", ["fsck", "store usage", "store shed --free 1GiB --why room", "store rekey"])
def test_where_there_is_no_store_it_says_which_flag_names_one(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command.split(), "--store", f"sqlite:///{tmp_path}/none.db"]) == 2
    assert "none.db: there is no such" in (said := capsys.readouterr().err)
    assert "--store" in said


def test_notes_never_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = str(write(tmp_path, one_route("access: {identity: ['header:X']}")))
    assert main(["check", "--strict", policy]) == 0
    assert ": note: " in capsys.readouterr().out


def test_a_policy_that_does_not_load_is_exit_code_2_with_all_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(write(tmp_path, one_route("wiat: 2s\nprefer: never")))]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "routes[0].wiat: unknown key; did you mean wait?" in captured.err
    assert "routes[0].prefer: expected honor or ignore" in captured.err


def test_offline_takes_unresolved_references_as_notes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = str(write(tmp_path, 'upstreams: {a: {url: "${env:NO_SUCH_VARIABLE}"}}\ndefault: {upstream: a}'))
    assert main(["check", policy]) == 2
    assert main(["check", "--offline", "--strict", policy]) == 0
    assert "note: upstreams.a.url: the environment has no NO_SUCH_VARIABLE" in capsys.readouterr().out


def test_each_flag_is_a_variable_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    unwise = str(write(tmp_path, UNWISE, "unwise.yaml"))
    elsewhere = 'upstreams: {a: {url: "${env:NO_SUCH_VARIABLE}"}}\ndefault: {upstream: a}'
    unresolved = str(write(tmp_path, elsewhere, "unresolved.yaml"))
    for text, codes in (("true", (1, 0)), ("false", (0, 2)), ("", (0, 2)), ("1", (2, 2))):
        monkeypatch.setenv("STRANGLER_STRICT", text)
        monkeypatch.setenv("STRANGLER_OFFLINE", text)
        assert (main(["check", unwise]), main(["check", unresolved])) == codes
    assert "STRANGLER_STRICT: expected true or false, found '1'" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["check"], ["chekc"], ["check", "--strikt", "x"]])
def test_wrong_usage_is_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(arguments or ["--nothing"])
    assert raised.value.code == 2
    assert "usage: strangler" in capsys.readouterr().err


def test_the_example_policy_loads() -> None:
    assert main(["check", str(ROUTES)]) == 0


def test_it_runs_as_a_program(tmp_path: Path) -> None:
    policy = write(tmp_path, UPSTREAM + "default: {upstream: legacy}")
    done = subprocess.run([sys.executable, "-m", "strangler", "check", str(policy)], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_callbacks_need_a_public_url_which_can_be_named_as_for_serve(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STRANGLER_PUBLIC_URL", raising=False)
    monkeypatch.setenv("HOOK", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    receivers = 'receivers: {r: {url: "https://hooks.example", secrets: ["${secret-env:HOOK}"]}}\n'
    keys = "access: {identity: ['header:X-Api-Key']}\ncallbacks: {receivers: [r]}"
    policy = str(write(tmp_path, one_route(keys, upstream=UPSTREAM + receivers)))
    assert main(["check", policy]) == 2
    assert "routes[0].callbacks: expected public_url, here or as --public-url" in capsys.readouterr().err
    capsys.readouterr()
    assert main(["check", "--public-url", "api.example", policy]) == 2  # as `serve` would say
    assert capsys.readouterr().err.startswith("--public-url: expected an absolute URL")
    assert main(["check", "--strict", "--public-url", "https://api.example", policy]) == 0
