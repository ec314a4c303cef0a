"""The legacy system's documents are real PDFs."""

from __future__ import annotations

import re

from strangler.demo.document import policy_document


def test_a_document_is_five_megabytes_and_names_itself() -> None:
    pdf = policy_document("P-1001")

    assert 5_000_000 < len(pdf) < 5_500_000
    assert b"(P-1001) Tj" in pdf


def test_every_entry_of_the_cross_reference_table_points_at_its_object() -> None:
    pdf = policy_document("P-1001")

    table = int(re.search(rb"startxref\n(\d+)\n%%EOF\n\Z", pdf)[1])
    entries = re.findall(rb"(\d{10}) \d{5} ([fn]) \n", pdf[table:])

    assert pdf[table:].startswith(b"xref\n0 7\n")
    assert len(entries) == 7
    for number, (offset, kind) in enumerate(entries):
        if kind == b"n":
            assert pdf[int(offset) :].startswith(b"%d 0 obj\n" % number)


def test_every_stream_is_as_long_as_it_says() -> None:
    pdf = policy_document("P-1001")

    streams = list(re.finditer(rb"/Length (\d+) >>\nstream\n", pdf))

    assert len(streams) == 2
    for stream in streams:
        assert pdf[stream.end() + int(stream[1]) :].startswith(b"\nendstream\nendobj\n")


def test_a_name_cannot_break_out_of_its_text() -> None:
    assert rb"(a\) Tj \(b\\?) Tj" in policy_document("a) Tj (b\\é")


def test_the_same_document_is_the_same_bytes() -> None:
    assert policy_document("P-1001") == policy_document("P-1001")
