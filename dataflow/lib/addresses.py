"""Which addresses may be reached from here. ``ipaddress.is_global`` alone lets NAT64, 6to4 and others through."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from dataflow.lib.errors import TaskError

Address = IPv4Address | IPv6Address

#: Refused networks and what to call them; the first that fits names the reason.
_REFUSED = tuple(
    (ip_network(network), reason)
    for network, reason in (
        ("127.0.0.0/8", "this machine (loopback)"),
        ("::1/128", "this machine (loopback)"),
        ("0.0.0.0/8", "an unspecified address"),
        ("::/128", "an unspecified address"),
        ("10.0.0.0/8", "a private network"),
        ("172.16.0.0/12", "a private network"),
        ("192.168.0.0/16", "a private network"),
        ("100.64.0.0/10", "a carrier's inside network"),
        ("169.254.0.0/16", "a link-local address (cloud metadata)"),
        ("168.63.129.16/32", "cloud metadata"),
        ("192.0.0.0/24", "a reserved network"),
        ("192.0.2.0/24", "a documentation network"),
        ("198.51.100.0/24", "a documentation network"),
        ("203.0.113.0/24", "a documentation network"),
        ("192.88.99.0/24", "a 6to4 relay"),
        ("198.18.0.0/15", "a test network"),
        ("224.0.0.0/4", "a multicast address"),
        ("240.0.0.0/4", "a reserved network"),
        ("::ffff:0:0/96", "an IPv4-mapped address"),
        ("::ffff:0:0:0/96", "an IPv4-translated address"),
        ("::/96", "an IPv4-compatible address"),
        ("64:ff9b::/96", "a NAT64 address"),
        ("64:ff9b:1::/48", "a NAT64 address"),
        ("100::/64", "a discard-only network"),
        ("2001::/23", "a protocol network (Teredo, ORCHID, benchmarks)"),
        ("2001:db8::/32", "a documentation network"),
        ("2002::/16", "a 6to4 address"),
        ("3fff::/20", "a documentation network"),
        ("5f00::/16", "a segment routing network"),
        ("fc00::/7", "a private network"),
        ("fe80::/10", "a link-local address"),
        ("fec0::/10", "a site-local address"),
        ("ff00::/8", "a multicast address"),
    )
)


def refusal(address: Address) -> str | None:
    """Why ``address`` must not be reached, in a few words; ``None`` when it is public."""
    for network, reason in _REFUSED:
        if address.version == network.version and address in network:
            return reason
    return None if address.is_global else "a reserved network"


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """What is open besides public addresses.

    ``allowed_hosts`` holds names or addresses as they stand in URLs, each with or without ``:port``; they may be at any
    address. ``allow_loopback`` opens this machine's loopback and nothing else.
    """

    allowed_hosts: frozenset[str] = frozenset()
    allow_loopback: bool = False

    def check(self, host: str, port: int, addresses: Iterable[str]) -> None:
        """Raise ``TaskError('blocked_address')`` unless every one of ``addresses`` of ``host`` may be reached."""
        if self._opens(host, port):
            return
        for text in addresses:
            address = ip_address(text.split("%", 1)[0])
            reason = refusal(address)
            if reason is None or (self.allow_loopback and address.is_loopback and _plain(address)):
                continue
            message = f"{host} leads to {text}, {reason}. Requests to inside addresses are not allowed."
            raise TaskError("blocked_address", message, details={"host": host, "address": text})

    def _opens(self, host: str, port: int) -> bool:
        bare = _normal(host)
        shown = f"[{bare}]" if ":" in bare else bare
        return any(_normal(entry) in (bare, f"{shown}:{port}".lower()) for entry in self.allowed_hosts)


def _plain(address: Address) -> bool:
    """Not IPv4 in the clothes of IPv6: newer Pythons call a mapped loopback a loopback too."""
    return isinstance(address, IPv4Address) or address.ipv4_mapped is None


def _normal(host: str) -> str:
    """A host as compared: lower case, no trailing dot, an IPv6 address without brackets unless a port follows."""
    lowered = host.strip().lower().rstrip(".")
    return lowered[1:-1] if lowered.startswith("[") and lowered.endswith("]") else lowered
