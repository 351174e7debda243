"""What commands say at a terminal, and how they reach Redis."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from app.commands import show
from app.settings import Settings, SettingsError
from state.redis.connect import open_servers
from state.redis.servers import Servers

__all__ = ["FAILED", "PATIENCE", "complain", "connected", "progress_bar", "say"]

FAILED: Final = 1
# A page of keys may be some megabytes, and no client waits for an answer.
PATIENCE: Final = 30.0
_EMBEDDED: Final = "memory://"


def say(text: str) -> None:
    """A result, in one line."""
    sys.stdout.write(f"{show.plain(text)}\n")


def complain(text: str, code: int = FAILED) -> int:
    """Say what is wrong, in one line; the exit code that tells of it."""
    sys.stderr.write(f"{show.plain(text)}\n")
    return code


def progress_bar() -> Progress:
    """A bar on a terminal, and nothing elsewhere."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


@asynccontextmanager
async def connected(settings: Settings, *, embedded: bool = False) -> AsyncIterator[Servers]:
    """The servers that the settings name. Raises SettingsError, also for the embedded store unless it is wanted."""
    url = settings.redis_url.reveal()
    if url == _EMBEDDED and not embedded:
        raise SettingsError("REDIS_URL is memory://: such state is in the process that serves, out of reach from here")
    try:
        servers = open_servers(url, size=settings.redis_pool_size, timeout=settings.store_timeout_seconds)
    except ValueError as error:
        raise SettingsError(f"REDIS_URL: {error}") from None
    try:
        yield servers
    finally:
        await servers.close()
