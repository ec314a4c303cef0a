"""A policy document of five megabytes: a PDF of one page, a line of text over what could be a scan.

ISO 32000-1 (PDF 1.7), sections 7.5 (file structure), 8.9.5 (image XObjects) and 9.6.2.2 (the standard fonts).
"""

from __future__ import annotations

WIDTH, HEIGHT = 2048, 2560  # samples of one byte each: exactly 5 MiB


def policy_document(name: str) -> bytes:
    """The PDF of a document, with its name on the page; the same name gives the same bytes."""
    text = name.encode("ascii", "replace").replace(b"\\", rb"\\").replace(b"(", rb"\(").replace(b")", rb"\)")
    content = (
        b"q 595 0 0 842 0 0 cm /Scan Do Q\n"
        b"BT /F1 28 Tf 60 760 Td (Policy document) Tj 0 -40 Td /F1 18 Tf (" + text + b") Tj ET\n"
    )
    return _file(
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R"
        b" /Resources << /Font << /F1 5 0 R >> /XObject << /Scan 6 0 R >> >> >>",
        _stream(b"", content),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        _stream(
            b"/Type /XObject /Subtype /Image /Width %d /Height %d /ColorSpace /DeviceGray /BitsPerComponent 8 "
            % (WIDTH, HEIGHT),
            _scan(),
        ),
    )


def _scan() -> bytes:
    """Paper: light grey, in bands that drift from row to row."""
    band = bytes(224 + step for step in range(32)) + bytes(255 - step for step in range(32))
    paper = band * (WIDTH // len(band) + 1)
    return b"".join(paper[row % len(band) : row % len(band) + WIDTH] for row in range(HEIGHT))


def _stream(entries: bytes, data: bytes) -> bytes:
    return b"<< %s/Length %d >>\nstream\n%s\nendstream" % (entries, len(data), data)


def _file(*objects: bytes) -> bytes:
    """The objects, numbered from 1, with the table that says at which byte each one begins."""
    pieces = [b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"]
    size = len(pieces[0])
    entries = [b"0000000000 65535 f \n"]
    for number, content in enumerate(objects, 1):
        entries.append(b"%010d 00000 n \n" % size)
        pieces.append(b"%d 0 obj\n%s\nendobj\n" % (number, content))
        size += len(pieces[-1])
    count = len(entries)
    pieces.append(b"xref\n0 %d\n%s" % (count, b"".join(entries)))
    pieces.append(b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (count, size))
    return b"".join(pieces)
