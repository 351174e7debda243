"""The sockets at which the service listens: those of every address that HOST means."""

import errno
import socket
from typing import Final

from app.settings import SettingsError

__all__ = ["listeners"]

# HOST may be `::`. As in most programs, that means every address of either family.
_EVERY: Final = ("::", "0.0.0.0")  # noqa: S104  # the operator's choice
# Errors of a machine that lacks a family of addresses.
_LACKING: Final = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


def listeners(host: str, port: int) -> list[socket.socket]:
    """Sockets bound to all addresses of `host`, and for :: of both families. Connections are refused until a server
    listens on them.

    Addresses of a family that the machine lacks are skipped if there are others. Raises SettingsError.
    """
    bound: list[socket.socket] = []
    trouble: OSError | UnicodeError | None = None
    try:
        addresses = [
            found
            for name in (_EVERY if host == "::" else (host,))
            for found in socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        ]
        for family, _, protocol, _, address in dict.fromkeys(addresses):
            try:
                bound.append(_bound(family, protocol, address))
            except OSError as error:
                if error.errno not in _LACKING:
                    raise
                trouble = error
    except (OSError, UnicodeError) as error:  # UnicodeError: `host` is not a valid name
        while bound:
            bound.pop().close()
        trouble = error
    if not bound:
        reason = f" ({trouble.strerror})" if isinstance(trouble, OSError) else ""
        raise SettingsError(
            f"HOST and PORT: take an address of this machine and a free port, not {host!r} and {port}{reason}"
        )
    return bound


def _bound(family: socket.AddressFamily, protocol: int, address: tuple[str | int | bytes, ...]) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Or :: would also take the port of 0.0.0.0, which has a socket of its own.
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
    except OSError:
        made.close()
        raise
    return made
