"""Where the command line finds the operations listener, and what it says of a wrong argument."""

from __future__ import annotations

import pytest

from strangler.cli import main
from strangler.cli.asking import Place, parse_place
from strangler.config.urls import MAX_SOCKET_PATH
from strangler.domain.errors import OperatorError


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("127.0.0.1:9901", Place("127.0.0.1", 9901)),
        ("http://ops.example", Place("ops.example", 9901)),
        ("https://ops.example/", Place("ops.example", 443, tls=True)),
        ("[::1]:9", Place("::1", 9)),
        ("0.0.0.0:9901", Place("127.0.0.1", 9901)),
        ("[::]:9901", Place("::1", 9901)),
        ("unix:/run/ops", Place(path="/run/ops")),
    ],
)
def test_where_operations_listen(text: str, place: Place) -> None:
    assert parse_place(text) == place


def test_a_place_is_told_as_it_is_given() -> None:
    assert [str(parse_place(text)) for text in ("[::1]:9", "127.0.0.1:9", "unix:/run/ops")] == [
        "[::1]:9",
        "127.0.0.1:9",
        "unix:/run/ops",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ftp://x",
        "http://",
        "http://x/path",
        "x:y",
        "http://x?y",
        "a..b:80",
        "a b:80",
        "unix:",
        "unix:/" + "s" * MAX_SOCKET_PATH,
        "u:p@a:80",
        "a\n:80",
    ],
)
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(OperatorError, match="--ops: expected"):
        parse_place(text)


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("exceptions show abc", "argument ID: expected the number of an exception, as `list` shows it, found 'abc'"),
        ("demo --speed fast", "argument --speed: expected a number above 0, 1000 at the most, found 'fast'"),
        ("demo --speed nan", "argument --speed: expected a number above 0, 1000 at the most, found 'nan'"),
    ],
)
def test_a_wrong_number_is_told_with_what_was_expected(
    command: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(command.split())
    assert text in capsys.readouterr().err
