"""Which addresses may be reached."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from dataflow.lib.addresses import AddressPolicy, refusal
from dataflow.lib.errors import TaskError

REFUSED = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "169.254.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "::ffff:169.254.169.254",
    "::ffff:0:10.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::8.8.8.8",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fdff::1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
]

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.216.34",
    "100.63.255.255",
    "100.128.0.1",
    "172.15.255.255",
    "172.32.0.1",
    "168.63.129.15",
    "198.17.255.255",
    "198.20.0.1",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2001:4860:4860::8888",
    "2a00:1450:4001::1",
]


@pytest.mark.parametrize("address", REFUSED)
def test_refused(address: str) -> None:
    assert refusal(ip_address(address))
    with pytest.raises(TaskError) as raised:
        AddressPolicy().check("example.com", 443, ["8.8.8.8", address])
    assert raised.value.code == "blocked_address"
    assert not raised.value.retryable
    assert address in raised.value.message


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    assert refusal(ip_address(address)) is None
    AddressPolicy().check("example.com", 443, [address])


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1"])
def test_loopback_when_open(address: str) -> None:
    AddressPolicy(allow_loopback=True).check("localhost", 80, [address])


@pytest.mark.parametrize("address", sorted(set(REFUSED) - {"127.0.0.1", "127.255.255.254", "::1"}))
def test_nothing_but_loopback_is_open_then(address: str) -> None:
    with pytest.raises(TaskError):
        AddressPolicy(allow_loopback=True).check("localhost", 80, [address])


def test_a_link_local_address_with_its_zone() -> None:
    with pytest.raises(TaskError):
        AddressPolicy().check("host", 80, ["fe80::1%eth0"])


@pytest.mark.parametrize(
    ("entry", "host", "port", "opened"),
    [
        ("intranet.example", "intranet.example", 80, True),
        ("intranet.example", "INTRANET.example.", 8443, True),
        ("intranet.example:8080", "intranet.example", 8080, True),
        ("intranet.example:8080", "intranet.example", 80, False),
        ("intranet.example", "evil.intranet.example", 80, False),
        ("intranet.example", "intranet.example.evil", 80, False),
        ("10.0.0.5", "10.0.0.5", 80, True),
        ("10.0.0.5:81", "10.0.0.5", 81, True),
        ("10.0.0.5", "10.0.0.6", 80, False),
        ("[fd00::1]", "fd00::1", 80, True),
        ("fd00::1", "fd00::1", 80, True),
        ("[fd00::1]:8080", "fd00::1", 8080, True),
        ("[fd00::1]:8080", "fd00::1", 80, False),
    ],
)
def test_named_hosts(entry: str, host: str, port: int, *, opened: bool) -> None:
    policy = AddressPolicy(frozenset({entry}))
    if opened:
        policy.check(host, port, ["10.0.0.5"])
    else:
        with pytest.raises(TaskError):
            policy.check(host, port, ["10.0.0.5"])
