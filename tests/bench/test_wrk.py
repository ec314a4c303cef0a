from __future__ import annotations

import pytest

from bench.wrk import parsed

QUIET = """Running 3s test @ http://127.0.0.1:1/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.44ms    0.54ms  11.94ms   92.61%
    Req/Sec    45.26k     3.04k   48.75k    90.00%
  135042 requests in 3.00s, 29.62MB read
Requests/sec:  44986.49
Transfer/sec:      9.87MB
"""


def test_a_run_without_failures_is_all_replies() -> None:
    seen = parsed(QUIET)
    assert (seen.replies, seen.errors) == (135042, 0)
    assert seen.rate == pytest.approx(45014)


def test_failures_are_told_apart_so_that_no_run_with_them_counts() -> None:
    troubled = QUIET.replace(
        "MB read\n",
        "MB read\n  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 42\n",
        1,
    )
    seen = parsed(troubled)
    assert seen.errors == 10
    assert seen.statuses == {"200": 135000, "other": 42}


def test_what_is_no_report_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="unable to connect"):
        parsed("unable to connect to 127.0.0.1:1 Connection refused\n")
