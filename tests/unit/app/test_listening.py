"""Where the service listens."""

import errno
import socket
from contextlib import ExitStack
from typing import Any

import pytest

from app import listening
from app.listening import listeners
from app.settings import SettingsError
from tests.support.processes import free_port


def test_all_addresses_of_a_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that stands for several addresses means all of them, of both families, but for what the machine lacks;
    what was bound is closed if one is in use."""
    port = free_port()
    addresses: list[tuple[socket.AddressFamily, str]] = []

    def answers(*_: object, **__: object) -> list[object]:
        return [(family, socket.SOCK_STREAM, 0, "", (address, port)) for family, address in addresses]

    monkeypatch.setattr("app.listening.socket.getaddrinfo", answers)
    addresses[:] = [(socket.AF_INET6, "2001:db8::1"), (socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "127.0.0.1")]
    with ExitStack() as stack:
        [bound] = [stack.enter_context(one) for one in listeners("name", port)]
        assert bound.getsockname() == ("127.0.0.1", port)
        bound.listen()
        addresses[:] = [(socket.AF_INET, "127.0.0.2"), (socket.AF_INET, "127.0.0.1")]
        with pytest.raises(SettingsError, match="Address already in use"):
            listeners("name", port)
    addresses[:] = [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")]
    with ExitStack() as stack:
        both = [stack.enter_context(one) for one in listeners("name", port)]
        for one in both:
            one.listen()
    assert both[0].family == socket.AF_INET
    addresses[:] = [(socket.AF_INET6, "2001:db8::1")]
    with pytest.raises(SettingsError, match="'name'"):
        listeners("name", port)


def test_two_colons_are_both_families(monkeypatch: pytest.MonkeyPatch) -> None:
    """HOST=:: serves every address of IPv6 and IPv4, and what there is on a machine that lacks one of them."""
    port = free_port()
    with ExitStack() as stack:
        bound = [stack.enter_context(one) for one in listeners("::", port)]
        assert [one.getsockname()[:2] for one in bound] == [("::", port), ("0.0.0.0", port)]
    inner = listening._bound
    for lacking, left in ((socket.AF_INET6, "0.0.0.0"), (socket.AF_INET, "::")):

        def bound_or_lacking(family: Any, *rest: Any, lacking: Any = lacking) -> socket.socket:
            if family == lacking:
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
            return inner(family, *rest)

        monkeypatch.setattr(listening, "_bound", bound_or_lacking)
        [only] = listeners("::", port)
        with only:
            assert only.getsockname()[:2] == (left, port)
