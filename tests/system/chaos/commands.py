"""Commands of an operator, on the Redis of a chaos run."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from app.commands.cli import run
from state import keys
from tests.support.waiting import PATIENCE_SECONDS, until
from tests.system.chaos.loops import FILE, LOOPS

__all__ = ["command", "settle"]

# Until a default reward is due for sure, where there is one.
_LONGEST_MS = 1_000 * max(loop.seconds for loop in LOOPS.values() if loop.default is not None)


def command(url: str, *words: str, **settings: str) -> int:
    """The exit code of a command on the Redis at `url`, with the loops of a chaos run and further `settings`."""
    patience = f"{PATIENCE_SECONDS:g}"
    with _environment(REDIS_URL=url, POLICIES=str(FILE), STORE_TIMEOUT_SECONDS=patience, **settings):
        return run(words)


def settle(url: str, reader: Any, users: Sequence[str], **settings: str) -> None:
    """Wait until the windows of the decisions that there are now are over where that changes anything, and settle."""
    end = _moment(reader) + _LONGEST_MS
    until(lambda: _moment(reader) > end, "the clock of Redis passes the last deadline")

    def settled() -> bool:
        # Others settle too, and who comes second leaves a user to them.
        done = command(url, "settle", **settings) == 0
        return done and not any(reader.zcount(keys.agenda(user), "-inf", end) for user in users)

    until(settled, "nothing is due any more")


def _moment(reader: Any) -> float:
    """Redis's clock, in milliseconds; on a cluster the one that is behind."""
    told: Any = reader.time()
    moments = [told] if isinstance(told, tuple) else told.values()
    return float(min(1_000 * seconds + micros / 1_000 for seconds, micros in moments))


@contextmanager
def _environment(**names: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
