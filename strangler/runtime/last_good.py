"""The last policy that loaded, kept in the store, for a start at which the files do not load.

What is kept are the texts of the files, so that a policy that is run again is one that was once read, checked and run;
secrets are not among them and are read anew. A policy that has a secret in its own text is not kept at all.
"""

from __future__ import annotations

import json

from strangler.config.load import Sources
from strangler.ports import Archive

_NAME = "last-good"


async def keep(archive: Archive, sources: Sources | None) -> None:
    """Keep what a policy was made from; None: it cannot be kept, and no earlier one is the last any more.

    Raises:
        StoreUnavailable: the store cannot record it now.
    """
    if sources is None:
        await archive.save("policy", _NAME, "null")
        return
    # A schema in JSON may be UTF-16: what is not UTF-8 is escaped, here and in the ASCII of the JSON.
    contents = {path: data.decode(errors="surrogateescape") for path, data in sources.contents.items()}
    await archive.save("policy", _NAME, json.dumps({"files": sources.files, "contents": contents}))


async def recall(archive: Archive) -> Sources | None:
    """What was kept last; None: nothing was.

    Raises:
        StoreUnavailable: the store cannot be read.
    """
    text = (await archive.load("policy")).get(_NAME)
    if text is None:
        return None
    kept = json.loads(text)
    if kept is None:
        return None
    contents = {path: content.encode(errors="surrogateescape") for path, content in kept["contents"].items()}
    return Sources(tuple(kept["files"]), contents)
