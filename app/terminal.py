"""How commands read their arguments, write to a terminal and reach Redis."""

import argparse
import os
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from app.settings import Settings, SettingsError, described
from state.redis.connect import open_servers, place
from state.redis.servers import Servers

__all__ = [
    "CATALOG",
    "EMBEDDED",
    "FAILED",
    "INTERRUPTED",
    "NATS",
    "PATIENCE",
    "REDIS",
    "USAGE",
    "complain",
    "connected",
    "count",
    "days",
    "environment",
    "new_file",
    "note",
    "plain",
    "progress_bar",
    "say",
    "user_id",
    "wide_console",
]

# Exit codes.
FAILED: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130
# Seconds for a round trip to Redis: a page of keys may have some megabytes, and no client waits for an answer.
PATIENCE: Final = 30.0
EMBEDDED: Final = "memory://"
# The variables that are read where a command reaches Redis or NATS, or reads the policy file.
REDIS: Final = ("REDIS_URL", "REDIS_POOL_SIZE", "STORE_TIMEOUT_SECONDS")
NATS: Final = ("NATS_URL", "NATS_CREDS", "NATS_JETSTREAM_DOMAIN")
CATALOG: Final = ("POLICIES", "ALPHA", "EPSILON", "DECISION_GRACE_SECONDS", "IDLE_USER_DAYS", "PERSONALIZER_KEY")
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


def note(text: str) -> None:
    """Write what a command works on, one line, to stderr."""
    complain(text)


@cache
def _variables() -> dict[str, tuple[str, str]]:
    """The default and the meaning of each."""
    return {name: (default, text) for name, default, text in described()}


def environment(names: Iterable[str]) -> str:
    """The part of a help about these variables: their defaults and what they mean to the service."""
    lines = ["environment, as the service has it (default):"]
    for name in names:
        default, text = _variables()[name]
        text += "; no command reaches that" if name == "REDIS_URL" else ""
        lines.append(f"  {name} ({default})")
        lines += textwrap.wrap(text, initial_indent=" " * 6, subsequent_indent=" " * 6, width=100)
    return "\n".join([*lines, ""]) if len(lines) > 1 else ""


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
    """The servers that REDIS_URL names, after saying which. Raises SettingsError, also for memory:// unless
    `embedded`."""
    url = settings.redis_url.reveal()
    if url == EMBEDDED and not embedded:
        raise SettingsError(
            "REDIS_URL is memory://: that state is inside the process that serves, out of reach; name a Redis"
        )
    try:
        servers = open_servers(url, size=settings.redis_pool_size, timeout=settings.store_timeout_seconds)
    except ValueError as error:
        raise SettingsError(f"REDIS_URL: {error}") from None
    if url != EMBEDDED:
        note(f"Redis: {place(url)}")
    try:
        yield servers
    finally:
        await servers.close()


def count(most: int) -> Callable[[str], int]:
    """Reads a whole number from 1 to `most`."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and 1 <= int(text[:10]) <= most and len(text) <= 10):
            raise argparse.ArgumentTypeError(f"takes a whole number from 1 to {most:,}, not {text!r}")
        return int(text)

    return read


def new_file(text: str) -> Path:
    """A path at which a file can be written without replacing anything but a regular file."""
    path = Path(text)
    if not path.name:
        raise argparse.ArgumentTypeError(f"{text!r} is not the name of a file")
    if os.path.lexists(path) and (path.is_symlink() or not path.is_file()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a regular file")
    return path


def days(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text[:9]) <= 36_500):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of days from 0 to 36500")
    return int(text)


def user_id(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError("a user id is UTF-8") from None
    if not 1 <= len(text) <= 256:
        raise argparse.ArgumentTypeError("a user id has 1 to 256 characters")
    return text
