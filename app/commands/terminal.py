"""How commands write to a terminal and reach Redis."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from app.settings import Settings, SettingsError
from state.redis.connect import open_servers
from state.redis.servers import Servers

__all__ = [
    "EMBEDDED",
    "FAILED",
    "INTERRUPTED",
    "PATIENCE",
    "USAGE",
    "complain",
    "connected",
    "plain",
    "progress_bar",
    "say",
    "wide_console",
]

# Exit codes.
FAILED: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130
# Seconds for a round trip to Redis: a page of keys may have some megabytes, and no client waits for an answer.
PATIENCE: Final = 30.0
EMBEDDED: Final = "memory://"
# A file has no edge at which a line would have to be broken.
_WIDE: Final = 10_000


def plain(text: str) -> str:
    """The text without anything that controls a terminal."""
    return "".join(character if character.isprintable() else f"\\x{ord(character):02x}" for character in text)


def say(text: str) -> None:
    """Write a result, one line."""
    sys.stdout.write(f"{plain(text)}\n")


def complain(text: str, code: int = FAILED) -> int:
    """Write what is wrong, one line, to stderr; returns `code`, the exit code that says so."""
    sys.stderr.write(f"{plain(text)}\n")
    return code


def progress_bar() -> Progress:
    """A progress bar if stderr is a terminal, and nothing otherwise."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def wide_console() -> Console:
    """Where results for people go: stdout, whose lines are broken only if it is a terminal."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _WIDE
    return console


@asynccontextmanager
async def connected(settings: Settings, *, embedded: bool = False) -> AsyncIterator[Servers]:
    """The servers that REDIS_URL names. Raises SettingsError, also for memory:// unless `embedded`."""
    url = settings.redis_url.reveal()
    if url == EMBEDDED and not embedded:
        raise SettingsError("REDIS_URL is memory://: that state is inside the process that serves, out of reach")
    try:
        servers = open_servers(url, size=settings.redis_pool_size, timeout=settings.store_timeout_seconds)
    except ValueError as error:
        raise SettingsError(f"REDIS_URL: {error}") from None
    try:
        yield servers
    finally:
        await servers.close()
