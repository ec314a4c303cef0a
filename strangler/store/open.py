"""From a store URL to a store."""

from __future__ import annotations

from pathlib import Path

from strangler.domain.errors import OperatorError

MEMORY = "memory:"


def store_path(url: str) -> Path | None:
    """The absolute path of the SQLite file that a URL names (``sqlite:///relative``, ``sqlite:////absolute``);
    None for ``memory:``.

    Raises:
        OperatorError: it is no URL of a store that there is.
    """
    if url == MEMORY:
        return None
    scheme, separator, rest = url.partition("://")
    if scheme in ("postgres", "postgresql") and separator:
        raise OperatorError(f"{scheme} is not available yet as a store; use sqlite:///strangler.db, or memory:")
    if scheme != "sqlite" or not rest.startswith("/") or len(rest) == 1 or rest.endswith("/"):
        raise OperatorError(
            f"{_without_password(url)!r} is not a store; expected sqlite:///relative.db, sqlite:////absolute.db or memory:"
        )
    return Path(rest[1:]).absolute()


def _without_password(url: str) -> str:
    """A mistyped URL as it may be shown: what stands before an @ may hold a password."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}://…@{rest.rpartition('@')[2]}" if separator and "@" in rest else url
