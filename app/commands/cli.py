"""What an operator does beside serving: move state in and out, look at a user, erase one, make an API key."""

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Final, NoReturn

from rich.console import Console

from app.bandit.catalog import SIZES, policies
from app.commands import show
from app.commands.backup import BadBackup
from app.commands.moving import export_state, import_state, restore_state
from app.commands.terminal import FAILED, PATIENCE, complain, connected, say
from app.http.api_keys import ROLES, make_key
from app.settings import Settings, SettingsError, from_environment
from state import keys
from state.errors import StoreError
from state.store import Store
from state.transfer import Transfer

__all__ = ["run"]

_Command = Callable[[argparse.Namespace, Settings], Coroutine[None, None, int]]
_FIXED: Final = keys.fixed(SIZES)
_USAGE: Final = 2
_INTERRUPTED: Final = 130
# A file has no edge at which a line would have to be broken.
_WIDE: Final = 10_000


def run(words: Sequence[str]) -> int:
    """Do what the command line says; the exit code: 0 all was done, 1 a part or nothing, 2 a wrong call or setting."""
    arguments = _parser().parse_args(words)
    command: _Command = arguments.command
    try:
        refused = _ask(arguments.user) if command is _erase and not arguments.yes else 0
        return refused or asyncio.run(command(arguments, from_environment(os.environ)))
    except SettingsError as error:
        return complain(str(error), _USAGE)
    except BadBackup as error:
        return complain(f"{arguments.file}: {error}")
    except StoreError as error:
        return complain(str(error))
    except OSError as error:
        return complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except KeyboardInterrupt:
        return complain("stopped; run it again to complete it", _INTERRUPTED)


async def _show(arguments: argparse.Namespace, settings: Settings) -> int:
    rows = policies(settings.alpha, settings.epsilon)
    async with connected(settings) as servers:
        page = await Transfer(servers, patience=PATIENCE).fetch(arguments.user, keys.fixed(rows))
    picture, whole = show.picture(arguments.user, page, rows)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _WIDE
    console.print(picture)
    return 0 if whole else FAILED


def _ask(user: str) -> int:
    """0 if someone at a terminal wants everything of `user` removed, else the exit code."""
    if not sys.stdin.isatty():
        return complain("erase asks before it does it; --yes answers", _USAGE)
    code = FAILED
    try:
        if input(f"Remove everything there is of {user!r}? [y/N] ").strip().lower() in {"y", "yes"}:
            return 0
    except (EOFError, KeyboardInterrupt) as end:
        sys.stderr.write("\n")
        code = _INTERRUPTED if isinstance(end, KeyboardInterrupt) else FAILED
    return complain("nothing was removed", code)


async def _erase(arguments: argparse.Namespace, settings: Settings) -> int:
    async with connected(settings) as servers:
        life = settings.idempotency_ttl_seconds
        store = Store(servers, timeout=PATIENCE, history_size=1, marker_seconds=life)
        fixed = [keys.of(arguments.user, kind) for kind in _FIXED]
        removed = await store.erase(arguments.user, fixed, thorough=arguments.thorough)
    for key in removed:
        say(key)
    say(f"removed: {len(removed):,} keys")
    return 0


async def _key(arguments: argparse.Namespace, _: Settings) -> int:
    key, line = make_key(arguments.name, arguments.role)
    say(f"key, shown this once: {key}")
    say(f"line for API_KEYS:    {line}")
    return 0


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(_USAGE, f"{self.prog}: {message}; --help tells more\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m app", description="Without a command: serve, as the environment says.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, command: _Command, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(command=command)
        return added

    importing = add("import", import_state, "read the first system's state directory")
    importing.add_argument("directory", type=Path, metavar="DIR")
    importing.add_argument("--ids", type=Path, metavar="FILE", help="true user ids, one in each line")
    importing.add_argument("--overwrite", action="store_true", help="replace models that are there already")
    importing.add_argument("--dry-run", action="store_true", help="only say what would be done")
    exporting = add("export", export_state, "write all state to a file")
    exporting.add_argument("file", type=_new_file, metavar="FILE")
    restoring = add("restore", restore_state, "read what export wrote")
    restoring.add_argument("file", type=Path, metavar="FILE")
    restoring.add_argument("--overwrite", action="store_true", help="replace users who are there already")
    showing = add("show", _show, "show what there is of one user")
    showing.add_argument("user", type=_user, metavar="USER")
    erasing = add("erase", _erase, "remove everything there is of one user")
    erasing.add_argument("user", type=_user, metavar="USER")
    erasing.add_argument("--yes", action="store_true", help="do not ask")
    erasing.add_argument("--thorough", action="store_true", help="look through all keys, as after going back a version")
    making = add("key", _key, "make an API key")
    making.add_argument("name", metavar="NAME")
    making.add_argument("role", metavar="ROLE", help=", ".join(ROLES))
    return parser


def _new_file(text: str) -> Path:
    """A name that a file can be given without taking it from something that is none."""
    path = Path(text)
    if not path.name:
        raise argparse.ArgumentTypeError(f"{text!r} is not the name of a file")
    if os.path.lexists(path) and (path.is_symlink() or not path.is_file()):
        raise argparse.ArgumentTypeError(f"{text!r} is there, and no regular file")
    return path


def _user(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError("a user id is UTF-8") from None
    if not 1 <= len(text) <= 256:
        raise argparse.ArgumentTypeError("a user id has 1 to 256 characters")
    return text
