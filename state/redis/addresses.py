"""The parts of a URL with several hosts.

`urlsplit` expects one host, and treats several differently in different patch releases of Python.
"""

import re
from ipaddress import IPv6Address
from typing import Final, NamedTuple, cast

__all__ = ["Parts", "addresses", "split"]

_PARTS: Final = re.compile(r"([^/?#]*)([^?#]*)(?:\?([^#]*))?(?:#.*)?", re.DOTALL)
_ADDRESS: Final = re.compile(r"(?:\[(?P<v6>[^][]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::(?P<port>[0-9]{0,5}))?")


class Parts(NamedTuple):
    """The parts of a URL after `://`, still percent-encoded: `user:password`, hosts, path and query."""

    credentials: str
    hosts: str
    path: str
    query: str


def split(rest: str) -> Parts:
    """The parts of the text after `://` in a URL; the last `@` ends the password."""
    found = cast("re.Match[str]", _PARTS.fullmatch(rest))  # it matches any text
    credentials, _, hosts = found[1].rpartition("@")
    return Parts(credentials, hosts, found[2], found[3] or "")


def addresses(hosts: str, default_port: int) -> list[tuple[str, int]]:
    """The hosts and ports of `host:port,[v6]:port,host`: names in lower case, IPv6 addresses without their brackets.

    A name has letters, digits and `._-`. Raises ValueError, without quoting `hosts`.
    """
    return [_address(text, default_port) for text in hosts.split(",")]


def _address(text: str, default_port: int) -> tuple[str, int]:
    found = _ADDRESS.fullmatch(text)
    port = int(found["port"] or default_port) if found else 0
    if found is None or not 1 <= port <= 65_535:
        raise ValueError("not host:port")
    if found["v6"] is None:
        return found["name"].lower(), port
    try:
        IPv6Address(found["v6"])
    except ValueError:
        raise ValueError("not an IPv6 address in brackets") from None
    return found["v6"].lower(), port
