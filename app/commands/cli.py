"""The command line of `python -m app`: its commands, their help, and how a failure becomes a line and an exit code."""

import argparse
import asyncio
import os
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Final, NoReturn

from app import __version__
from app.commands.backup import BadBackup
from app.commands.erase import ask, erase_user
from app.commands.key import print_key
from app.commands.moving import export_state, import_state, restore_state
from app.commands.settle import settle_users
from app.commands.show import show_user
from app.commands.terminal import INTERRUPTED, USAGE, complain
from app.http.api_keys import ROLES
from app.settings import Settings, SettingsError, from_environment
from state.errors import StoreError

__all__ = ["run"]

_Command = Callable[[argparse.Namespace, Settings], Coroutine[None, None, int]]
_EXIT_CODES: Final = """\
exit codes:
  0    all was done
  1    a part or nothing was done; stderr says why, one line for each reason
  2    the call or a setting is wrong
  130  a signal ended the command
"""
_REDIS: Final = """\
environment, as the service has it:
  REDIS_URL                where the state is: redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://;
                           required, since state in memory:// is out of reach
  REDIS_POOL_SIZE          most connections to open
  STORE_TIMEOUT_SECONDS    longest wait for a connection to open
"""
_TTL: Final = "  IDEMPOTENCY_TTL_SECONDS  how long an idempotency key lives\n"
_RULES: Final = f"""{_REDIS}\
  POLICIES                 the file with policies and loops
  ALPHA, EPSILON           as the service has them
  DECISION_GRACE_SECONDS   how long a decision is kept after its window
"""
_DESCRIPTION: Final = """\
Without a command: serve, as the environment says (docs/run/operations.md lists the settings).
With a command: do one thing for an operator, on the Redis that REDIS_URL names, while the service runs or not.
"""


def run(words: Sequence[str]) -> int:
    """Do what the command line says; the exit code: 0 all was done, 1 a part or nothing, 2 a wrong call or setting."""
    arguments = _parser().parse_args(words)
    command: _Command = arguments.command
    try:
        refused = ask(arguments.user) if command is erase_user and not arguments.yes else 0
        return refused or asyncio.run(command(arguments, from_environment(os.environ)))
    except SettingsError as error:
        return complain(str(error), USAGE)
    except BadBackup as error:
        return complain(f"{arguments.file}: {error}")
    except StoreError as error:
        return complain(str(error))
    except OSError as error:
        return complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except KeyboardInterrupt:
        return complain("stopped; run it again to complete it", INTERRUPTED)


class _Parser(argparse.ArgumentParser):
    """Reports a wrong call in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"{self.prog}: {message}; --help tells more\n")


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = _Parser(prog="python -m app", description=_DESCRIPTION, epilog=_EXIT_CODES, formatter_class=raw)
    parser.add_argument("--version", action="version", version=__version__, help="print the version and exit")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, command: _Command, text: str, example: str, environment: str = _REDIS) -> _Parser:
        epilog = "\n".join(part for part in (environment, _EXIT_CODES, f"example:\n  python -m app {example}") if part)
        added: _Parser = commands.add_parser(
            name, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=epilog, formatter_class=raw
        )
        added.set_defaults(command=command)
        return added

    importing = add(
        "import", import_state, "import the models of the first system", "import state --ids ids.txt --dry-run"
    )
    importing.add_argument("directory", type=Path, metavar="DIR", help="the state directory of the first system")
    importing.add_argument("--ids", type=Path, metavar="FILE", help="the true user ids, one on each line")
    importing.add_argument("--overwrite", action="store_true", help="replace models that Redis has already")
    importing.add_argument("--dry-run", action="store_true", help="only say what would be imported")
    exporting = add("export", export_state, "write all users to a file", "export backup.gz")
    exporting.add_argument("file", type=_new_file, metavar="FILE", help="the file to write, or to replace")
    restoring = add("restore", restore_state, "restore the users of a file that export wrote", "restore backup.gz")
    restoring.add_argument("file", type=Path, metavar="FILE", help="the file to read")
    restoring.add_argument("--overwrite", action="store_true", help="replace users whom Redis has already")
    showing = add("show", show_user, "show all there is of one user", "show ann")
    showing.add_argument("user", type=_user, metavar="USER", help="the user id")
    erasing = add("erase", erase_user, "remove all there is of one user", "erase ann --yes", f"{_REDIS}{_TTL}")
    erasing.add_argument("user", type=_user, metavar="USER", help="the user id")
    erasing.add_argument("--yes", action="store_true", help="do not ask first")
    erasing.add_argument(
        "--thorough", action="store_true", help="look through all keys: needed after a return to an older version"
    )
    settling = add(
        "settle", settle_users, "book default rewards that are due, for users who do not return", "settle", _RULES
    )
    settling.add_argument(
        "--once", action="store_true", help="settle what is due now, and not what becomes due meanwhile"
    )
    making = add("key", print_key, "make an API key", "key phone client", "")
    making.add_argument("name", metavar="NAME", help="the owner of the key, as logs and metrics name it")
    making.add_argument("role", metavar="ROLE", help=f"what the key may do: {', '.join(ROLES)}")
    return parser


def _new_file(text: str) -> Path:
    """A path at which a file can be written without replacing anything but a regular file."""
    path = Path(text)
    if not path.name:
        raise argparse.ArgumentTypeError(f"{text!r} is not the name of a file")
    if os.path.lexists(path) and (path.is_symlink() or not path.is_file()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a regular file")
    return path


def _user(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError("a user id is UTF-8") from None
    if not 1 <= len(text) <= 256:
        raise argparse.ArgumentTypeError("a user id has 1 to 256 characters")
    return text
