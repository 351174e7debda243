"""What is done to a part of the system, and how it is undone."""

import random
from collections.abc import Callable

import msgspec

from tests.support.processes import Server

__all__ = ["Fault", "frozen", "killed", "stopped", "strike_process"]


def _nothing() -> None:
    pass


class Fault(msgspec.Struct):
    """Something done to `whom`: `begin` now, and `end` after `seconds`, which are 0 for what passes by itself."""

    whom: str
    what: str
    begin: Callable[[], object]
    end: Callable[[], object] = _nothing
    seconds: float = 0.0


def killed(whom: str, server: Server, seconds: float) -> Fault:
    return Fault(whom, "killed (SIGKILL), started again", server.kill, server.start, seconds)


def frozen(whom: str, server: Server, seconds: float) -> Fault:
    return Fault(whom, "frozen (SIGSTOP), continued", server.pause, server.resume, seconds)


def stopped(whom: str, server: Server, seconds: float) -> Fault:
    return Fault(whom, "stopped (SIGTERM), started again", server.stop, server.start, seconds)


def strike_process(draw: random.Random, number: int, server: Server) -> Fault:
    """A fault of a process of the service."""
    how = draw.choice([killed, killed, frozen, frozen, stopped])
    return how(f"service {number}", server, draw.uniform(0.3, 4.0))
