"""The command line of `python -m app`: its commands, their help, and how a failure becomes a line and an exit code."""

import argparse
import asyncio
import os
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from app import __version__
from app.analysis.evaluate import add_evaluate, evaluate
from app.analysis.judge import add_judge, judge
from app.analysis.log import add_log
from app.analysis.simulate import add_simulate, simulate
from app.backup.reader import BadBackup
from app.commands import events
from app.commands.erase import ask, erase_user
from app.commands.key import print_key
from app.commands.moving import export_state, import_state, restore_state
from app.commands.policies import show_policies
from app.commands.prior import build_priors
from app.commands.settle import settle_users
from app.commands.show import show_user
from app.http.api_keys import ROLES
from app.settings import Settings, SettingsError, described, from_environment
from app.starting import COMPLETING
from app.terminal import (
    CATALOG,
    INTERRUPTED,
    NATS,
    REDIS,
    USAGE,
    complain,
    days,
    environment,
    new_file,
    user_id,
)
from state.errors import StoreError

__all__ = ["run"]

_Add = Callable[..., argparse.ArgumentParser]
_Command = Callable[[argparse.Namespace, Settings], Coroutine[None, None, int]]
_EXIT_CODES: Final = """\
exit codes:
  0    all was done
  1    a part or nothing was done; stderr says why, one line for each reason
  2    the call or a setting is wrong
  130  a signal ended the command
"""
# Variables that commands which write also read: what they write may expire, and goes into the log.
_RESTORES: Final = (*REDIS, "IDLE_USER_DAYS")
_IMPORTS: Final = (*_RESTORES, "DECISION_LOG")
_ERASES: Final = (*REDIS, "IDEMPOTENCY_TTL_SECONDS", "DECISION_LOG")
_SETTLES: Final = (*REDIS, *CATALOG, "IDEMPOTENCY_TTL_SECONDS", "DECISION_LOG")
_RAW: Final = argparse.RawDescriptionHelpFormatter
_DESCRIPTION: Final = """\
Without a command: serve, as the environment says.
With a command: do one thing for an operator, on the Redis that REDIS_URL names, while the service runs or not.
`python -m app COMMAND --help` tells what it takes, what it reads of the environment, and an example.
"""
_EXAMPLES: Final = """\
examples:
  REDIS_URL=redis://localhost:6379 python -m app
  REDIS_URL=redis://localhost:6379 python -m app show ann
"""


def run(words: Sequence[str]) -> int:
    """Do what the command line says; the exit code: 0 all was done, 1 a part or nothing, 2 a wrong call or setting."""
    parser = _parser()
    if COMPLETING in os.environ:
        _complete(parser)
    arguments = parser.parse_args(words)
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


def _complete(parser: argparse.ArgumentParser) -> None:
    """Tell the shell what may stand at its cursor, and end. The line and the cursor are in the environment."""
    import argcomplete  # noqa: PLC0415  # the extra `completion`, without which no shell asks

    argcomplete.autocomplete(parser)


class _Parser(argparse.ArgumentParser):
    """Reports a wrong call in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"{self.prog}: {message}; --help tells more\n")


def _parser() -> argparse.ArgumentParser:
    epilog = f"{environment(name for name, *_ in described())}\n{_EXIT_CODES}\n{_EXAMPLES}"
    parser = _Parser(prog="python -m app", description=_DESCRIPTION, epilog=epilog, formatter_class=_RAW)
    parser.add_argument("--version", action="version", version=__version__, help="print the version and exit")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    add = _adder(commands, REDIS)
    _add_users(add)
    _add_policies(add)
    add_simulate(
        add(
            "simulate",
            simulate,
            "compare policies where the outcome of every choice is known",
            "simulate --on mails.csv --label answered --out report.html",
            ("POLICIES", "ALPHA", "EPSILON"),
        )
    )
    add_evaluate(
        add(
            "evaluate",
            evaluate,
            "judge policies by the log of decisions",
            "evaluate /var/log/oo --policy policies.toml:push-v2 --html report.html",
            CATALOG,
        )
    )
    add_judge(
        add(
            "judge",
            judge,
            "keep in Redis what the log of decisions tells of each loop, for changes of who serves it",
            "judge /var/log/oo",
            REDIS + CATALOG,
        )
    )
    text = "look at events and dead letters in NATS, and replay dead letters"
    events.add_events(_group(commands, "events", text, (*NATS, "NATS_DURABLE_PREFIX")))
    add_log(_group(commands, "log", "make Parquet, examples and explanations of the log of decisions"))
    making = add("key", print_key, "make an API key", "key phone client", ())
    making.add_argument("name", metavar="NAME", help="the owner of the key, as logs and metrics name it")
    making.add_argument("role", metavar="ROLE", choices=ROLES, help=f"what the key may do: {', '.join(ROLES)}")
    return parser


def _adder(commands: Any, usual: tuple[str, ...], before: str = "") -> _Add:
    """A function that declares a command in `commands`, named after `before`. It reads the variables of `usual`."""

    def add(
        name: str, command: _Command, text: str, example: str = "", reads: tuple[str, ...] = usual
    ) -> argparse.ArgumentParser:
        shown = f"example:\n  python -m app {before}{example or name}"
        epilog = "\n".join(part for part in (environment(reads), _EXIT_CODES, shown) if part)
        added: argparse.ArgumentParser = commands.add_parser(
            name, help=text, description=_sentence(text), epilog=epilog, formatter_class=_RAW
        )
        added.set_defaults(command=command)
        return added

    return add


def _group(commands: Any, name: str, text: str, usual: tuple[str, ...] = ()) -> _Add:
    """A command that has commands of its own; what declares these."""
    group = commands.add_parser(name, help=text, description=_sentence(text), epilog=_EXIT_CODES, formatter_class=_RAW)
    return _adder(group.add_subparsers(metavar="COMMAND", required=True), usual, f"{name} ")


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _add_users(add: _Add) -> None:
    """The commands about users: all of them, or one."""
    importing = add(
        "import",
        import_state,
        "import the models of the first system",
        "import state --ids ids.txt --dry-run",
        _IMPORTS,
    )
    importing.add_argument("directory", type=Path, metavar="DIR", help="the state directory of the first system")
    importing.add_argument("--ids", type=Path, metavar="FILE", help="the true user ids, one on each line")
    importing.add_argument("--overwrite", action="store_true", help="replace models that Redis has already")
    importing.add_argument("--dry-run", action="store_true", help="only say what would be imported")
    exporting = add("export", export_state, "write all users to a file", "export backup.gz")
    exporting.add_argument("file", type=new_file, metavar="FILE", help="the file to write, or to replace")
    restoring = add(
        "restore", restore_state, "restore the users of a file that export wrote", "restore backup.gz", _RESTORES
    )
    restoring.add_argument("file", type=Path, metavar="FILE", help="the file to read")
    restoring.add_argument("--overwrite", action="store_true", help="replace users whom Redis has already")
    showing = add("show", show_user, "show all there is of one user", "show ann")
    showing.add_argument("user", type=user_id, metavar="USER", help="the user id")
    erasing = add("erase", erase_user, "remove all there is of one user", "erase ann --yes", _ERASES)
    erasing.add_argument("user", type=user_id, metavar="USER", help="the user id")
    erasing.add_argument("--yes", action="store_true", help="do not ask first")
    erasing.add_argument(
        "--thorough", action="store_true", help="look through all keys: needed after a return to an older version"
    )


def _add_policies(add: _Add) -> None:
    """The commands about policies, and what they have learned."""
    meaning = add(
        "policies",
        show_policies,
        "show what the policy file means, and prune columns that no file has any more",
        "policies --policies policies.toml",
        (*REDIS, *CATALOG, "FEATURE_HISTORY_SIZE", "IDEMPOTENCY_TTL_SECONDS"),
    )
    meaning.add_argument("--policies", metavar="FILE", help="the file, instead of the one that POLICIES names")
    meaning.add_argument("--loop", metavar="NAME", help="only this loop and its policies")
    meaning.add_argument("--built-in", action="store_true", help="print the file that is built in")
    meaning.add_argument("--prune", action="store_true", help="take columns out of models that no file has any more")
    meaning.add_argument(
        "--older-than",
        type=days,
        metavar="DAYS",
        help="with --prune: unused for how long; default: the longest window and an hour",
    )
    meaning.add_argument("--dry-run", action="store_true", help="with --prune: only say what would be pruned")
    building = add("prior", build_priors, "let new users start from what others taught", "prior", REDIS + CATALOG)
    building.add_argument(
        "--policy", action="append", default=[], metavar="NAME", help="only this policy; may be repeated"
    )
    building.add_argument("--dry-run", action="store_true", help="only say what would be written")
    settling = add(
        "settle", settle_users, "book default rewards that are due, for users who do not return", "settle", _SETTLES
    )
    settling.add_argument(
        "--once", action="store_true", help="settle what is due now, and not what becomes due meanwhile"
    )
