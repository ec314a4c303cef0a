"""Whether a store is opened with the identity key that it was written under: a check value of the key lies in it."""

from __future__ import annotations

import hmac
from typing import Final

from strangler.domain.errors import OperatorError
from strangler.ports import Archive

_KIND: Final = "identity"
_NAME = "key"
_PURPOSE = b"strangler identity key"  # of the check value, which says nothing of the key or of what is derived from it

_WRONG = (
    "{store} was written under another identity key: under this one no caller would find its processes, what they "
    "repeat with a known key would be done twice, and no stored credentials would open. Give the key that it was "
    "written with, of its backup: as --identity-key, whose text counts as it is, or in {store}.identity-key, in "
    "hexadecimal; if it is lost for good, `strangler store rekey` says what is lost with it"
)


async def require_known(archive: Archive, location: str, identity_key: bytes) -> None:
    """Nothing, where the store was written under this key; one that knows none yet knows this one from now on.

    Args:
        location: where the store is, for people.

    Raises:
        OperatorError: it was written under another one.
        StoreUnavailable: the store can be neither read nor written.
    """
    known = await is_known(archive, identity_key)
    if known is None:
        await adopt(archive, identity_key)
    elif not known:
        raise OperatorError(_WRONG.format(store=location))


async def is_known(archive: Archive, identity_key: bytes) -> bool | None:
    """Whether the store knows this key, and no other; None: it knows none yet.

    Raises:
        StoreUnavailable: the store cannot be read.
    """
    kept = (await archive.load(_KIND)).get(_NAME)
    return kept if kept is None else kept == _check_value(identity_key)


async def adopt(archive: Archive, identity_key: bytes) -> None:
    """The store knows this key from now on, and no other.

    Raises:
        StoreUnavailable: the store cannot record it; it knows the one that it knew.
    """
    await archive.save(_KIND, _NAME, _check_value(identity_key))


def _check_value(identity_key: bytes) -> str:
    return hmac.digest(identity_key, _PURPOSE, "sha256").hex()
