"""The evidence of a loop from the sums that compaction made of its log, and what became of its last decisions.

Sums of years take no time to read; only the lines of the last days are read one by one.
"""

from pathlib import Path
from typing import Final

import msgspec

from app.decision_log.lines import milliseconds, moment
from app.decision_log.place import PlaceError
from app.evaluation.evidence import Evidence, Scale, evidence_of_sums
from app.judging.collect import regressors
from app.judging.joining import DAYS, Joining
from app.log_reading.joined import joined
from app.log_reading.order import by_decision
from app.log_reading.parts import NAME, engine, told
from app.log_reading.reading import Complain, read
from app.log_reading.sums import DRAWN, beside, stored
from app.policies.catalog import Catalog
from app.policies.loop import Loop

__all__ = ["Summed", "summed"]

_HOUR: Final = 3_600_000
_DAY: Final = 24 * _HOUR


class Summed(msgspec.Struct, frozen=True):
    """The `evidence`, and what became of the last decisions as of a moment (ms since 1970)."""

    evidence: Evidence
    joining: Joining
    as_of: int


def summed(directory: Path, complain: Complain, catalog: Catalog, name: str) -> Summed | None:
    """What is known of a loop of the catalog; None if there are no sums of it.

    The doubly robust estimate needs more than sums, and is left out. Raises PlaceError, also if the sums are a day
    older than the log, MissingExtra and OSError.
    """
    loop = catalog.loops[name]
    found = _evidence(directory, loop)
    if found is None:
        return None
    last = _last_hour(directory)
    columns, newest = regressors(catalog, name, {}), moment(last)
    joining = Joining(columns.labels, columns.features)
    since = moment(last - DAYS * _DAY - 1_000 * loop.window)
    for one in joined(read(directory, complain, by_decision, since=since)):
        newest = max(newest, one.decision.ts, *(outcome.ts for outcome in one.outcomes))
        if one.decision.loop == name:
            joining.add(one, columns.of(one.decision))
    as_of = milliseconds(newest)
    if as_of - last > _DAY:
        raise PlaceError(f"the sums end at {moment(last)[:13]}, and the log at {newest[:13]}: run log compact")
    return Summed(found, joining, as_of)


def _evidence(directory: Path, loop: Loop) -> Evidence | None:
    with engine() as base, told():
        if (known := beside(directory, base, loop.name)) is None:
            return None
        champion, names = known
        sums = {name: each for name in names if (each := stored(directory, base, loop.name, champion, name))}
    if DRAWN not in sums:
        raise PlaceError("the sums are of an earlier version: run log compact")
    drawn = sums.pop(DRAWN)
    return evidence_of_sums(loop.name, champion, drawn, sums, Scale(loop.low, loop.high))


def _last_hour(directory: Path) -> int:
    """The last hour of which there are sums (ms since 1970)."""
    last = max(path.parent for path in directory.glob(f"sums/date=*/hour=*/{NAME}"))
    date, hour = last.parent.name.removeprefix("date="), last.name.removeprefix("hour=")
    return milliseconds(f"{date}T{hour}:00:00.000Z")
