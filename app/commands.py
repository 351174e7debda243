"""What an operator does beside serving: move state in and out, look at a user, erase one, make an API key."""

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import Final, NoReturn, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from app import backup, first_system, show
from app.access import ROLES, make_key
from app.backup import BadBackup
from app.bandit.registry import policies
from app.first_system import Unusable
from app.settings import Settings, SettingsError, from_environment
from state import keys
from state.connect import open_servers
from state.errors import StoreError
from state.servers import Servers
from state.store import Store
from state.transfer import Transfer

__all__ = ["run"]

T = TypeVar("T")
_Command = Callable[[argparse.Namespace, Settings], Coroutine[None, None, int]]
# A page of keys may be some megabytes, and nobody waits for an answer.
_PATIENCE: Final = 30.0
_BATCH: Final = 1_024
# A file has no edge at which a line would have to be broken.
_WIDE: Final = 10_000
_FAILED: Final = 1
_USAGE: Final = 2
_INTERRUPTED: Final = 130
_EMBEDDED: Final = "memory://"


def run(words: Sequence[str]) -> int:
    """Do what the command line says; the exit code: 0, 1 if something failed or was left out, 2 for a wrong call."""
    arguments = _parser().parse_args(words)
    command: _Command = arguments.command
    try:
        refused = _ask(arguments.user) if command is _erase and not arguments.yes else 0
        return refused or asyncio.run(command(arguments, from_environment(os.environ)))
    except SettingsError as error:
        return _complain(str(error), _USAGE)
    except BadBackup as error:
        return _complain(f"{arguments.file}: {error}")
    except StoreError as error:
        return _complain(str(error))
    except OSError as error:
        return _complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except KeyboardInterrupt:
        return _complain("stopped; run it again to complete it", _INTERRUPTED)


async def _import(arguments: argparse.Namespace, settings: Settings) -> int:
    rows = policies(settings.alpha, settings.epsilon)
    ids = _read_ids(arguments.ids) if arguments.ids else None
    problems = list(ids.problems) if ids else []
    for problem in problems:
        _complain(f"{arguments.ids}: {problem}")
    left_out = written = models = 0
    total = sum(1 for _ in first_system.files(arguments.directory))
    async with _transfer(settings, embedded=arguments.dry_run) as transfer:
        with _progress() as progress:
            task = progress.add_task("import", total=total)
            for paths in _batches(first_system.files(arguments.directory), _BATCH):
                found = []
                for path in paths:
                    try:
                        imported = first_system.read(path, rows, ids)
                    except Unusable as error:
                        left_out += 1
                        _complain(f"{path.name}: left out: {error}")
                    else:
                        found.append(imported.stored)
                        if imported.note:
                            _complain(f"{path.name}: {imported.note}")
                models += len(found)
                if not arguments.dry_run:
                    written += await transfer.write(found, overwrite=arguments.overwrite)
                else:
                    written += len(found) - (0 if arguments.overwrite else await transfer.present(found))
                progress.advance(task, len(paths))
    would = "would be " if arguments.dry_run else ""
    _say(f"{would}imported: {written:,} models; there already: {models - written:,}; left out: {left_out:,}")
    return _FAILED if left_out or problems else 0


async def _export(arguments: argparse.Namespace, settings: Settings) -> int:
    left_out: list[str] = []
    async with _transfer(settings) as transfer:
        writer = backup.Writer(arguments.file)
        try:
            with _progress() as progress:
                task = progress.add_task("export", total=await transfer.count())
                async for page in transfer.pages():
                    left_out += [*page.odd, *writer.write(page.found)]
                    progress.advance(task, len(page.found))
            size = writer.finish()
        finally:
            writer.give_up()
    for key in left_out:
        _complain(f"{key}: left out: it holds what this service never writes")
    _say(f"exported: {_counted(writer.counts)}; left out: {len(left_out):,}; {arguments.file} has {size:,} bytes")
    return _FAILED if left_out else 0


async def _restore(arguments: argparse.Namespace, settings: Settings) -> int:
    written = total = 0
    async with _transfer(settings) as transfer:
        with arguments.file.open("rb") as file, _progress() as progress:
            size = os.fstat(file.fileno()).st_size
            task = progress.add_task("restore", total=2 * size)
            # To its end before anything is written: half a backup shall not be restored.
            for _ in _batches(backup.read(file), _BATCH):
                progress.update(task, completed=file.tell())
            file.seek(0)
            for batch in _batches(backup.read(file), _BATCH):
                written += await transfer.write(batch, overwrite=arguments.overwrite)
                total += len(batch)
                progress.update(task, completed=size + file.tell())
    _say(f"restored: {written:,} keys; there already: {total - written:,}")
    return 0


async def _show(arguments: argparse.Namespace, settings: Settings) -> int:
    rows = policies(settings.alpha, settings.epsilon)
    async with _transfer(settings) as transfer:
        page = await transfer.fetch(arguments.user, show.kinds(rows))
    picture, whole = show.picture(arguments.user, page, rows)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _WIDE
    console.print(picture)
    return 0 if whole else _FAILED


def _ask(user: str) -> int:
    """0 if someone at a terminal wants everything of `user` removed, else the exit code."""
    if not sys.stdin.isatty():
        return _complain("erase asks before it does it; --yes answers", _USAGE)
    code = _FAILED
    try:
        if input(f"Remove everything there is of {user!r}? [y/N] ").strip().lower() in {"y", "yes"}:
            return 0
    except (EOFError, KeyboardInterrupt) as end:
        sys.stderr.write("\n")
        code = _INTERRUPTED if isinstance(end, KeyboardInterrupt) else _FAILED
    return _complain("nothing was removed", code)


async def _erase(arguments: argparse.Namespace, settings: Settings) -> int:
    async with _servers(settings) as servers:
        store = Store(servers, timeout=_PATIENCE, history_size=1, marker_seconds=1)
        changing = [keys.of(arguments.user, kind) for kind in show.kinds(policies(settings.alpha, settings.epsilon))]
        removed = await store.erase(arguments.user, changing)
    for key in removed:
        _say(key)
    _say(f"removed: {len(removed):,} keys")
    return 0


async def _key(arguments: argparse.Namespace, _: Settings) -> int:
    key, line = make_key(arguments.name, arguments.role)
    _say(f"key, shown this once: {key}")
    _say(f"line for API_KEYS:    {line}")
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

    importing = add("import", _import, "read the first system's state directory")
    importing.add_argument("directory", type=Path, metavar="DIR")
    importing.add_argument("--ids", type=Path, metavar="FILE", help="true user ids, one in each line")
    importing.add_argument("--overwrite", action="store_true", help="replace models that are there already")
    importing.add_argument("--dry-run", action="store_true", help="only say what would be done")
    exporting = add("export", _export, "write all state to a file")
    exporting.add_argument("file", type=_new_file, metavar="FILE")
    restoring = add("restore", _restore, "read what export wrote")
    restoring.add_argument("file", type=Path, metavar="FILE")
    restoring.add_argument("--overwrite", action="store_true", help="replace keys that are there already")
    showing = add("show", _show, "show what there is of one user")
    showing.add_argument("user", type=_user, metavar="USER")
    erasing = add("erase", _erase, "remove everything there is of one user")
    erasing.add_argument("user", type=_user, metavar="USER")
    erasing.add_argument("--yes", action="store_true", help="do not ask")
    making = add("key", _key, "make an API key")
    making.add_argument("name", metavar="NAME")
    making.add_argument("role", metavar="ROLE", help=", ".join(ROLES))
    return parser


def _new_file(text: str) -> Path:
    """A name that a file can be given without taking it from something that is none."""
    path = Path(text)
    if not path.name:
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a file")
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


@asynccontextmanager
async def _servers(settings: Settings, *, embedded: bool = False) -> AsyncIterator[Servers]:
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


@asynccontextmanager
async def _transfer(settings: Settings, *, embedded: bool = False) -> AsyncIterator[Transfer]:
    async with _servers(settings, embedded=embedded) as servers:
        yield Transfer(servers, patience=_PATIENCE)


def _read_ids(path: Path) -> first_system.Ids:
    try:
        with path.open(encoding="utf-8-sig") as file:
            return first_system.read_ids(file)
    except UnicodeDecodeError:
        raise OSError(0, "is not UTF-8", str(path)) from None


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def _progress() -> Progress:
    """A bar on a terminal, and nothing elsewhere."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {kind}" for kind, count in sorted(counts.items())) or "nothing"


def _say(text: str) -> None:
    sys.stdout.write(f"{show.plain(text)}\n")


def _complain(text: str, code: int = _FAILED) -> int:
    sys.stderr.write(f"{show.plain(text)}\n")
    return code
