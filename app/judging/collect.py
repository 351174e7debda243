"""A log read for one loop: its decisions gathered, and new policies run over them."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from app.bandit.policy import Policy
from app.decision_log.lines import Line, milliseconds, moment
from app.evaluation.logged import Logged
from app.judging.gathered import Gathered, Range
from app.judging.joining import Joining
from app.judging.regressors import Regressors
from app.judging.rerun import Rerun, by_time, rerun
from app.log_reading.joined import joined
from app.log_reading.order import Key, by_decision
from app.log_reading.reading import Complain, read
from app.policies.catalog import Catalog

__all__ = ["BadRewards", "Collected", "NoSuchLoop", "collect", "regressors"]

_USUAL: Final = "tips"
_NAMED: Final = 16
_AFTERWARDS: Final = (
    "it was run over the log afterwards: the best of many policies tried on one log looks better than it is"
)


class NoSuchLoop(Exception):
    """The loop is not in the log, or it is not clear which is meant. The message is one line."""


class BadRewards(Exception):
    """The log has rewards that the loop cannot have. The message is one line."""


class Collected(msgspec.Struct, frozen=True):
    """The decisions of a `loop` as of a moment (ms since 1970), at least one, from `first` to `last` (likewise).

    `joining` tells whether rewards find their decisions. `warnings` are about new policies, by name. `is_known`: the
    catalog has the loop, and says what its rewards are.
    """

    loop: str
    logged: Logged
    joining: Joining
    as_of: int
    first: int
    last: int
    warnings: dict[str, list[str]]
    is_known: bool


class _Log:
    """The lines of a log up to a moment."""

    def __init__(self, directory: Path, complain: Complain, until: int | None) -> None:
        self._directory = directory
        self._complain = complain
        self._until = None if until is None else moment(until)
        self._newest = ""
        self.loops: set[str] = set()

    @property
    def as_of(self) -> int:
        """The moment (ms) as of which it is read: the newest of all lines, unless another was asked for."""
        return milliseconds(self._until or self._newest)

    def lines(self, key: Callable[[Line], Key]) -> Iterator[Line]:
        for line in read(self._directory, self._complain, key):
            if self._until is None or line.ts <= self._until:
                self._newest = max(self._newest, line.ts)
                yield line
        # Each problem is told once, however often the log is read.
        self._complain = _silent

    def gathered(self, loop: str, regressors: Regressors, advance: Callable[[], object]) -> tuple[Gathered, Joining]:
        """All decisions of a loop, and what became of them. Notes which loops the log has."""
        found, joining = Gathered(regressors.sizes), Joining(regressors.labels, regressors.features)
        for told in joined(self.lines(by_decision)):
            self.loops.add(told.decision.loop)
            if told.decision.loop == loop:
                seen = regressors.of(told.decision)
                found.add(told, seen)
                joining.add(told, seen)
                advance()
        return found, joining


def collect(
    directory: Path,
    complain: Complain,
    catalog: Catalog,
    *,
    loop: str | None,
    as_of: int | None,
    new: Mapping[str, Policy],
    advance: Callable[[], object],
) -> Collected | None:
    """The decisions of `loop` up to `as_of`, by default the log's newest moment, and the `new` policies run over them.

    Without `loop` the log's only loop is taken, or tips. Returns None if there is no decision. `advance` is called for
    each line.
    Raises NoSuchLoop, BadRewards, PlaceError, MissingExtra and OSError.
    """
    log, wanted = _Log(directory, complain, as_of), loop or _USUAL
    found, joining = log.gathered(wanted, regressors(catalog, wanted, new), advance)
    if not log.loops:
        return None
    if not len(found):
        wanted = _only(loop, log.loops)
        found, joining = log.gathered(wanted, regressors(catalog, wanted, new), advance)
    # Lines may come while the log is read again, but what is gathered is as of now.
    moment_read, names = log.as_of, found.names()
    runs = {f"{name} (new)" if name in found.policies else name: Rerun(policy) for name, policy in new.items()}
    more = rerun(log.lines(by_time), wanted, [*runs.values()], names) if runs else []
    known = catalog.loops.get(wanted)
    rewards = Range() if known is None else Range(known.low, known.high, known.missing)
    try:
        logged = found.logged(moment_read, rewards, dict(zip(runs, more, strict=True)))
    except ValueError as error:
        raise BadRewards(f"loop {wanted}: {error}") from None
    warnings = {name: _about(run) for name, run in runs.items()}
    return Collected(
        loop=wanted,
        logged=logged,
        joining=joining,
        as_of=moment_read,
        first=names[0][0],
        last=names[-1][0],
        warnings=warnings,
        is_known=known is not None,
    )


def _silent(_: str) -> None:
    """Say nothing."""


def _only(loop: str | None, loops: set[str]) -> str:
    there = ", ".join(sorted(loops)[:_NAMED])
    if loop is not None:
        raise NoSuchLoop(f"--loop {loop}: the log has no decision of this loop; it has {there}")
    if len(loops) > 1:
        raise NoSuchLoop(f"--loop: name one of the log's loops: {there}")
    return next(iter(loops))


def regressors(catalog: Catalog, loop: str, new: Mapping[str, Policy]) -> Regressors:
    """The columns of a loop's policies, if the catalog has it, and of new ones."""
    known = catalog.loops.get(loop)
    own = [] if known is None else [catalog.policies[name] for name in (known.champion, *known.shadows)]
    return Regressors([*own, *new.values()])


def _about(run: Rerun) -> list[str]:
    """Warnings about a policy that was run over the log."""
    found = [_AFTERWARDS]
    if run.policy.population and not run.priors:
        found.append("it had no prior, since too few users had learned enough by the times when priors are built")
    if run.failed:
        found.append(f"it could not be scored or taught everywhere: {run.failed}")
    return found
