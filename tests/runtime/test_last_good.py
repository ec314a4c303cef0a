"""The last policy that loaded, kept for a start at which the files do not load."""

from __future__ import annotations

from collections.abc import Mapping

from strangler.config.load import Sources
from strangler.runtime import last_good


class FakeArchive:
    """Keeps texts."""

    def __init__(self) -> None:
        self.texts: dict[tuple[str, str], str] = {}

    async def save(self, kind: str, name: str, text: str) -> None:
        """See `Archive`."""
        self.texts[kind, name] = text

    async def load(self, kind: str) -> Mapping[str, str]:
        """See `Archive`."""
        return {name: text for (of, name), text in self.texts.items() if of == kind}


async def test_what_was_kept_comes_back() -> None:
    archive = FakeArchive()
    assert await last_good.recall(archive) is None
    sources = Sources(("/a.yaml",), {"/a.yaml": b"routes: []\n"})
    await last_good.keep(archive, sources)
    assert await last_good.recall(archive) == sources


async def test_where_one_could_not_be_kept_no_earlier_one_comes_back_in_its_place() -> None:
    archive = FakeArchive()
    await last_good.keep(archive, Sources(("/a.yaml",), {"/a.yaml": b"routes: []\n"}))
    await last_good.keep(archive, None)
    assert await last_good.recall(archive) is None


async def test_a_file_in_no_charset_of_text_comes_back_byte_for_byte() -> None:
    archive = FakeArchive()
    sources = Sources(("/a.yaml",), {"/a.yaml": b"routes: []\n", "/s.json": '{"title": "é😀"}'.encode("utf-16")})
    await last_good.keep(archive, sources)
    assert all(text.isascii() for text in archive.texts.values())
    assert await last_good.recall(archive) == sources
