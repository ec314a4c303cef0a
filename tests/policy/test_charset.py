"""Which charsets are read, whatever a client calls its own."""

from __future__ import annotations

import codecs
import encodings
import random
from contextlib import suppress

import pytest

from strangler.domain.exchange import Header
from strangler.policy.charset import CODECS, MAX_NAME, codec_of
from strangler.policy.documents import read_body
from strangler.policy.readable import Unparsable, decoded
from strangler.policy.wall import Source

USUAL = (
    "utf-8 UTF-8 utf8 iso-8859-1 ISO_8859-1:1987 latin1 windows-1252 cp1252 us-ascii ANSI_X3.4-1968 utf-16 utf-16le "
    "iso-8859-15 shift_jis Shift-JIS gb18030 big5 koi8-r koi8-u euc-jp euc-kr iso-2022-jp ibm037 cp737 windows-1251"
)
NONE = (
    "punycode undefined idna unicode_escape unicode-escape raw_unicode_escape charmap mbcs dbcs ansi oem aliases "
    "base64 bz2 hex quopri quoted-printable rot13 uu zlib zip klingon .. a.b utf-8\u00e9 utf-8\0"
)


def typed(form: str, charset: str) -> list[Header]:
    return [(b"Content-Type", f"{form}; charset={charset}".encode("latin-1"))]


@pytest.mark.parametrize("name", USUAL.split())
def test_the_usual_names_are_known(name: str) -> None:
    codec = codec_of(name)
    assert codec is not None
    assert codecs.lookup(codec).name == codecs.lookup(name).name
    assert read_body("Z".encode(name), typed("text/plain", name), Source()).body == "Z"


@pytest.mark.parametrize("name", [*NONE.split(), "utf-8" + "-" * MAX_NAME])
@pytest.mark.parametrize("form", ["text/plain", "application/json", "application/xml"])
def test_what_is_no_charset_of_text_is_not_known(form: str, name: str) -> None:
    with pytest.raises(Unparsable, match="is not known"):
        read_body(b'"a-"', typed(form, name), Source())


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
@pytest.mark.parametrize("name", ["punycode", "undefined", "klingon"])
def test_the_values_of_a_form_are_in_no_other_charset_either(mark: bytes, name: str) -> None:
    with pytest.raises(Unparsable, match="is not known"):
        read_body(mark + b"a=%41-", typed("application/x-www-form-urlencoded", name), Source())


def test_the_values_of_a_form_are_in_the_charset_that_its_text_is_in() -> None:
    kind = [(b"Content-Type", b"application/x-www-form-urlencoded; v=1; charset=ISO-8859-1; w=2")]
    assert read_body(b"a=%FC&b=\xfc", kind, Source()).body == {"a": "ü", "b": "ü"}


def test_an_xml_declaration_names_no_other_charset_either() -> None:
    body = b'<?xml version="1.0" encoding="punycode"?><a>-</a>'
    with pytest.raises(Unparsable, match="is not known"):
        read_body(body, [(b"Content-Type", b"application/xml")], Source())


def test_names_that_clients_make_up_are_not_remembered() -> None:
    read_body(b"a", typed("text/plain", "utf-8"), Source())
    before, made_up = len(encodings._cache), random.Random(1)  # type: ignore[attr-defined]
    for _ in range(300):
        name = f"x-{made_up.randbytes(8).hex()}"
        with pytest.raises(Unparsable):
            read_body(b"a", typed("text/plain", name), Source())
        assert read_body(b"a", typed("text/plain", f"utf{'-' * made_up.randint(1, 40)}8"), Source()).body == "a"
    assert len(encodings._cache) == before  # type: ignore[attr-defined]


@pytest.mark.parametrize("codec", sorted(set(CODECS.values())))
def test_every_charset_is_one_of_text_and_refuses_what_is_not_in_it(codec: str) -> None:
    assert codecs.lookup(codec)._is_text_encoding
    noise = random.Random(codec)
    for size in range(40):
        with suppress(Unparsable):
            assert isinstance(decoded(noise.randbytes(size), None, codec, xml=False), str)


def test_a_name_leads_to_the_codec_that_python_knows_by_it() -> None:
    known = [name for name in CODECS if codec_of(name) is not None]
    assert len(known) > 300
    assert [name for name in known if codecs.lookup(name).name != codecs.lookup(CODECS[name]).name] == []


def test_a_codec_that_does_not_say_where_it_failed_is_answered_like_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CODECS, "silent", "undefined")
    codec_of.cache_clear()
    with pytest.raises(Unparsable, match="it is not silent"):
        decoded(b"a", "silent", None, xml=False)
    codec_of.cache_clear()
