"""Cross-origin resource sharing (the Fetch standard, section 3.2): which pages of other origins a policy lets in."""

from __future__ import annotations

from strangler.policy.model import CorsPolicy

ANY = "*"


def allows(policy: CorsPolicy, origin: bytes) -> bool:
    """Whether a page of this origin may read what is answered."""
    return ANY in policy.origins or trusts(policy, origin)


def trusts(policy: CorsPolicy, origin: bytes) -> bool:
    """Whether the policy names this origin. ``*`` names none: it shares what is public, and vouches for nobody."""
    text = origin.decode("latin-1")
    return any(entry == text or _under(entry, text) for entry in policy.origins)


def _under(entry: str, origin: str) -> bool:
    """Whether an origin is a subdomain of an entry such as ``https://*.example.org``."""
    scheme, mark, domain = entry.partition("://*.")
    if not mark or not origin.startswith(f"{scheme}://") or not origin.endswith(f".{domain}"):
        return False
    labels = origin[len(scheme) + 3 : -len(domain) - 1]
    return bool(labels) and not any(letter in labels for letter in "/:@[")
