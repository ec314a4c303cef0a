"""By which names a charset is known. Whoever sends a body chooses the name, so Python's codecs are not asked for it:
they would remember each, and some of them are no charset of anything or take quadratic time."""

from __future__ import annotations

import encodings
import pkgutil
import re
import string
from encodings.aliases import aliases
from functools import lru_cache

MAX_NAME = 60
"""Characters of the name in a ``Content-Type``: a longer one is none."""

_NO_CHARSETS = frozenset(
    {
        "aliases",  # a module beside the codecs
        "base64_codec",
        "bz2_codec",
        "charmap",
        "hex_codec",
        "idna",
        "mbcs",
        "oem",
        "punycode",
        "quopri_codec",
        "raw_unicode_escape",
        "rot_13",
        "undefined",
        "unicode_escape",
        "uu_codec",
        "zlib_codec",
    }
)
"""Codecs of Python that are for something else, or for one platform alone."""

_MODULES = {module.name: module.name for module in pkgutil.iter_modules(encodings.__path__)}
CODECS = {name: codec for name, codec in (_MODULES | aliases).items() if codec not in _NO_CHARSETS}
"""Python's codec for each charset, by the names of it that Python knows, as `encodings` spells them."""

_SAID = re.compile(r';\s*charset\s*=\s*"?([^\s;"]+)', re.IGNORECASE)


@lru_cache(maxsize=32)
def codec_of(name: str) -> str | None:
    """Python's codec for a charset; None: nobody knows the charset."""
    if len(name) > MAX_NAME or not (name.isascii() and name.isprintable()):
        return None
    return CODECS.get(encodings.normalize_encoding(name).lower())


def holds_ascii(name: str) -> bool:
    """Whether ASCII is written in a known charset as it is everywhere: not so in UTF-16 and in EBCDIC."""
    codec = codec_of(name)
    return codec is not None and string.printable.encode(codec, "replace") == string.printable.encode("ascii")


def said_charset(content_type: str | None) -> str | None:
    """What a ``Content-Type`` calls the charset, known or not, and no longer than it takes to show that it is too long;
    None: it says nothing."""
    found = _SAID.search(content_type or "")
    return found[1][: MAX_NAME + 1] if found is not None else None
