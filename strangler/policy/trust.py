"""Which peers are believed when they say for whom they speak (``--trust-forwarded``)."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

from strangler.domain.exchange import Peer


class TrustedNetworks:
    """The networks of our own proxies. None by default: nobody is believed."""

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network] = ()) -> None:
        self._networks = tuple(networks)

    def peer(self, peer: Peer) -> bool:
        """Whether what a peer says of those before it is believed."""
        return bool(self._networks) and self.address(peer.address)

    def address(self, text: str) -> bool:
        """Whether a proxy at this address is one of ours; what is no address is not."""
        try:
            address = ip_address(text)
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)


NOBODY = TrustedNetworks()
"""Every peer speaks for itself."""
