"""Where downloads may go, as far as a URL and an address tell."""

from __future__ import annotations

import pytest

from visionq.errors import UnsafeUrl
from worker.fetch import FetchPolicy, check_url, is_public

OPEN = FetchPolicy()

HOSTILE = [
    # other schemes, no scheme, no host
    "file:///etc/passwd",
    "ftp://example.org/a.png",
    "gopher://example.org/",
    "data:image/png;base64,AAAA",
    "unix:///var/run/docker.sock",
    "javascript:alert(1)",
    "//example.org/a.png",
    "example.org/a.png",
    "",
    "http://",
    "http:///a.png",
    "http:example.org",
    # loopback, in every spelling
    "http://127.0.0.1/",
    "http://127.0.0.1:6379/",
    "http://127.255.255.254/",
    "http://127.0.0.1./",
    "http://127.1/",
    "http://127.0.1/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.0.0.1/",
    "http://0X7F.1/",
    "http://0177.0.0.1/",
    "http://017700000001/",
    "http://0/",
    "http://0.0.0.0/",
    "http://127。0。0。1/",
    "http://\uff11\uff12\uff17.0.0.1/",
    "http://①②⑦.⓪.⓪.①/",
    "http://%31%32%37.0.0.1/",
    "http://[::1]/",
    "http://[::]/",
    "http://[0:0:0:0:0:0:0:1]/",
    # an IPv4 address inside an IPv6 address
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[::ffff:8.8.8.8]/",
    "http://[::127.0.0.1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[64:ff9b:1::a00:1]/",
    "http://[2002:7f00:1::]/",
    "http://[2001:0:7f00:1::]/",
    "http://[2a00::5efe:7f00:1]/",
    # private, link-local, carrier-grade NAT, metadata
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://172.31.255.255/",
    "http://192.168.1.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://0xa9fea9fe/",
    "http://169.254.43518/",
    "http://100.64.0.1/",
    "http://100.100.100.200/latest/meta-data/",
    "http://168.63.129.16/",
    "http://192.0.0.192/",
    "http://192.0.0.8/",
    "http://[fd00:ec2::254]/",
    "http://[fc00::1]/",
    "http://[fe80::1]/",
    "http://[fe80::1%25eth0]/",
    "http://[fec0::1]/",
    # multicast, reserved, documentation, broadcast
    "http://224.0.0.1/",
    "http://239.255.255.255/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    "http://198.18.0.1/",
    "http://192.0.2.1/",
    "http://203.0.113.9/",
    "http://192.88.99.1/",
    "http://[ff02::1]/",
    "http://[2001:db8::1]/",
    "http://[3fff::1]/",
    "http://[100::1]/",
    # even a public address has one spelling
    "http://134744072/",
    "http://010.8.8.8/",
    "http://8.8.8.8.8/",
    "http://8.8.8.256/",
    # credentials and what parsers disagree on
    "http://user@example.org/",
    "http://user:password@example.org/",
    "http://@example.org/",
    "http://:@example.org/",
    "http://example.org\\@127.0.0.1/",
    "http://example.org\t.evil.test/",
    "http://example.org\r\nHost: evil/",
    "http://exa mple.org/",
    "http://example.org:0/",
    "http://example.org:99999/",
    "http://example.org:port/",
    "http://[::1/",
    "http://[v1.x]/",
    "http://a..b/",
    "http://-a.org/",
    "http://example%2eorg/",
    "http://" + "a" * 64 + ".org/",
    "http://" + "a." * 127 + "org/",
    "http://example.org/" + "a" * 8192,
]

HARMLESS = [
    "http://example.org/a.png",
    "https://example.org:8443/a.png?x=1#y",
    "HTTPS://EXAMPLE.ORG/",
    "http://8.8.8.8/",
    "https://[2a00:1450:4001::1]/",
    "https://пример.рф/картинка.png",
    "https://my_bucket.example.org/a@b.png",
    "https://example.org./a",
    "https://example.org?mail=me@example.org",
    "https://1e100.net/",
    "https://example.org/a?next=http://127.0.0.1/",
]


@pytest.mark.parametrize("url", HOSTILE)
def test_hostile_urls_are_refused(url: str) -> None:
    """Each of these is refused by its text, before any name is resolved."""
    with pytest.raises(UnsafeUrl) as caught:
        check_url(url, name="picture 1", policy=OPEN)
    assert caught.value.image == "picture 1"


@pytest.mark.parametrize("url", HARMLESS)
def test_harmless_urls_pass(url: str) -> None:
    """Common addresses pass."""
    assert check_url(url, name="a", policy=OPEN).host


def test_private_addresses_can_be_allowed() -> None:
    """In a closed network any address and port may be fetched, though still in plain spelling."""
    policy = FetchPolicy(allow_private=True)
    for url in ("http://127.0.0.1:1/", "http://10.1.2.3:65535/", "http://[::1]:8000/"):
        check_url(url, name="a", policy=policy)
    for url in ("http://2130706433/", "file:///etc/passwd", "http://me@10.1.2.3/"):
        with pytest.raises(UnsafeUrl):
            check_url(url, name="a", policy=policy)


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("cdn.example.org", True),
        ("CDN.EXAMPLE.ORG", True),
        ("cdn.example.org.", True),
        ("a.photos.test", True),
        ("a.b.photos.test", True),
        ("photos.test", False),
        ("evilphotos.test", False),
        ("xcdn.example.org", False),
        ("cdn.example.org.evil.test", False),
        ("8.8.8.8", False),
    ],
)
def test_only_allowed_hosts_are_fetched_from(host: str, allowed: bool) -> None:
    """An allow-list holds whole names, and a leading dot stands for everything below."""
    policy = FetchPolicy(allowed_hosts=("cdn.example.org", ".photos.test"))
    if allowed:
        check_url(f"https://{host}/", name="a", policy=policy)
    else:
        with pytest.raises(UnsafeUrl, match="VISIONQ_ALLOWED_HOSTS"):
            check_url(f"https://{host}/", name="a", policy=policy)


def test_an_allowed_host_does_not_open_private_addresses() -> None:
    """The allow-list narrows what may be fetched and never widens it."""
    with pytest.raises(UnsafeUrl, match="open internet"):
        check_url("http://10.0.0.1/", name="a", policy=FetchPolicy(allowed_hosts=("10.0.0.1",)))


@pytest.mark.parametrize("text", ["", "example.org", "127.1", "8.8.8.8/32", "2a00::1%eth0"])
def test_what_is_no_address_is_not_public(text: str) -> None:
    """Text that does not read as an address is refused rather than guessed at."""
    assert not is_public(text)


@pytest.mark.parametrize("text", ["8.8.8.8", "1.1.1.1", "172.32.0.1", "100.63.255.255", "2a00::1"])
def test_public_addresses_are_public(text: str) -> None:
    """The neighbours of closed ranges stay open."""
    assert is_public(text)
