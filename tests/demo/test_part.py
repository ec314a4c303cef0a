"""Programs that are started, watched and ended."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from strangler.demo import part as part_module
from strangler.demo.part import Part, PartFailed, take_port
from strangler.demo.stage import Stage
from tests.harness import waiting

Make = Callable[[str], Part]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A part made of the text of a program; it has ``ready``, the path of a file by which it may say so."""

    def made(program: str) -> Part:
        (tmp_path / "program.py").write_text(f"import pathlib, signal, sys, threading\n{program}\n")
        flags = {"ready": str(tmp_path / "ready")}
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        return Part("the program", tmp_path / "log", ("program",), flags, environment, announces="listening")

    return made


def check_until_it_fails(part: Part) -> None:
    while True:
        part.check()


READY = "print('listening', flush=True); pathlib.Path(sys.argv[1].partition('=')[2]).touch()"


def test_a_program_has_started_when_it_answers(make: Make, tmp_path: Path) -> None:
    part = make(f"{READY}; threading.Event().wait()")

    part.start((tmp_path / "ready").exists)
    part.check()
    assert part.pid is not None
    part.stop()

    assert part.pid is None


def test_a_program_that_ends_is_reported_with_the_end_of_its_log(make: Make) -> None:
    part = make("print('the store is locked'); sys.exit(3)")

    with pytest.raises(PartFailed, match=r"(?s)the program ended with exit code 3.*the store is locked"):
        part.start(lambda: False)


def test_only_the_end_of_a_long_log_is_shown(make: Make) -> None:
    part = make("print(*range(1000), sep='\\n'); sys.exit(1)")

    with pytest.raises(PartFailed) as failure:
        part.start(lambda: False)

    assert str(failure.value).splitlines()[-1].strip() == "999"
    assert len(str(failure.value).splitlines()) == part_module.TAIL_LINES + 2


def test_an_answer_from_somebody_else_is_not_taken_for_ours(make: Make) -> None:
    part = make("print('the address is in use'); sys.exit(1)")

    with pytest.raises(PartFailed, match="the address is in use"):
        part.start(lambda: True)


def test_what_it_said_before_a_restart_does_not_count(make: Make, tmp_path: Path) -> None:
    part = make(f"(tmp := pathlib.Path('{tmp_path}/ready')).exists() and sys.exit(4); {READY}; signal.pause()")
    part.start((tmp_path / "ready").exists)
    part.kill()

    with pytest.raises(PartFailed, match="exit code 4"):
        part.start(lambda: True)


def test_a_program_that_was_killed_is_reported_with_the_signal(make: Make, tmp_path: Path) -> None:
    part = make(f"{READY}; signal.raise_signal(signal.SIGKILL)")
    part.start((tmp_path / "ready").exists)

    with pytest.raises(PartFailed, match="the program was ended by SIGKILL"):
        check_until_it_fails(part)


def test_a_program_that_never_answers_is_reported(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_module, "START_SECONDS", 0.0)
    part = make("threading.Event().wait()")

    with pytest.raises(PartFailed, match="does not answer after 0 s"):
        part.start(lambda: False)

    part.kill()


def test_a_program_is_asked_to_end(make: Make, tmp_path: Path) -> None:
    leaving = "signal.signal(signal.SIGTERM, lambda *_: (print('goodbye'), sys.exit()))"
    part = make(f"{leaving}; {READY}; signal.pause()")
    part.start((tmp_path / "ready").exists)

    part.stop()

    assert "goodbye" in part.log.read_text()


def test_a_program_that_does_not_end_is_killed(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_module, "END_SECONDS", 0.1)
    part = make(f"signal.signal(signal.SIGTERM, signal.SIG_IGN); {READY}; threading.Event().wait()")
    part.start((tmp_path / "ready").exists)
    pid = part.pid
    assert pid is not None

    part.stop()

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_what_is_not_running_can_be_stopped(make: Make) -> None:
    make("pass").stop()


def test_the_port_that_is_wished_for_is_taken_where_it_is_free() -> None:
    wish = waiting.free_port()
    with socket.create_server(("127.0.0.1", wish)), take_port(wish) as other:
        assert other.getsockname()[1] != wish

    with take_port(wish) as taken:
        assert taken.getsockname()[1] == wish


def test_a_port_is_given_to_one_of_two_although_nobody_listens_yet() -> None:
    wish = waiting.free_port()
    with take_port(wish) as one, take_port(wish) as two:
        assert one.getsockname()[1] == wish
        assert two.getsockname()[1] != wish
        socket.create_server(one.getsockname()).close()  # a part may listen there


@pytest.mark.xdist_group("demo")  # these are the ports that demonstrations wish for
def test_two_stages_at_once_have_six_ports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Stage() as one, Stage() as two:
        urls = {url for stage in (one, two) for url in (stage.legacy_url, stage.url, stage.operations_url)}
        assert len(urls) == 6
