"""Evidence from sums: the same as from the decisions that they are made of."""

import shutil
from pathlib import Path

import msgspec
import pytest

from app.decision_log.lines import milliseconds, moment
from app.decision_log.place import PlaceError
from app.evaluation.evidence import Evidence, Judged, evidence
from app.judging.collect import collect
from app.judging.summed import Summed, summed
from app.log_reading.compact import compact
from app.messages.pipeline import LoopHealth
from app.policies.catalog import catalog
from tests.unit.app.judging.world import POLICIES, made, written

pytestmark = pytest.mark.slow
CATALOG = catalog(POLICIES)


def newest() -> int:
    """The moment of the newest line (ms since 1970)."""
    return max(milliseconds(line.ts) for line in made().lines)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log and its sums."""
    found = written(tmp_path_factory.mktemp("log"), made().lines)
    compact(found, pytest.fail, lambda *_: None, loops=CATALOG.loops, now=newest())
    return found


def of(log: Path) -> Summed:
    found = summed(log, pytest.fail, CATALOG, "push")
    assert found is not None
    return found


def same(one: Judged, other: Judged) -> None:
    assert (one.n, one.refused) == (other.n, other.refused)
    for mine, theirs in ((one.ips, other.ips), (one.snips, other.snips)):
        assert mine is not None
        assert theirs is not None
        assert mine.estimate == pytest.approx(theirs.estimate, rel=1e-12)
    assert (one.gate is None) == (other.gate is None)
    if one.gate is not None and other.gate is not None:
        pairs = zip(msgspec.structs.astuple(one.gate)[:4], msgspec.structs.astuple(other.gate)[:4], strict=True)
        assert all(mine == pytest.approx(theirs, rel=1e-9) for mine, theirs in pairs)
        assert one.gate.n > 400


def test_the_same_evidence(log: Path) -> None:
    """But for the intervals, of groups of users or hours, and the doubly robust estimate; and the same health."""
    found, read = of(log), collect(log, pytest.fail, CATALOG, loop="push", as_of=None, new={}, advance=lambda: None)
    assert read is not None
    wanted: Evidence = evidence(read.logged, "push")
    mine = found.evidence
    assert (mine.champion, mine.decisions, mine.matured, mine.rewarded) == ("blind", 600, 575, 575)
    assert (mine.decisions, mine.matured, mine.rewarded) == (wanted.decisions, wanted.matured, wanted.rewarded)
    assert mine.policies.keys() == wanted.policies.keys() == {"blind", "sighted"}
    for name, each in mine.policies.items():
        same(each, wanted.policies[name])
        assert each.dr is None
    healths: list[LoopHealth] = [
        each.joining.health(each.as_of, at=newest(), champion="blind", missing=0.0) for each in (found, read)
    ]
    assert healths[0] == healths[1]


def test_only_the_last_days_are_read(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine days in all with the longest window; decisions of earlier ones are in the sums alone."""
    monkeypatch.setattr("app.judging.summed.DAYS", 1)
    found = of(log)
    assert found.evidence.decisions == 600
    health = found.joining.health(found.as_of, at=newest(), champion="blind", missing=0.0)
    assert 0 < sum(hour.decisions for hour in health.hours) < 400


def test_no_sums(tmp_path: Path, log: Path) -> None:
    """Of a log that was not compacted, or of a loop that is not in it."""
    assert summed(tmp_path, pytest.fail, CATALOG, "push") is None
    assert summed(log, pytest.fail, CATALOG, "tips") is None


def test_sums_that_are_old(tmp_path: Path, log: Path) -> None:
    """They would tell of another time."""
    shutil.copytree(log, tmp_path, dirs_exist_ok=True)
    last = max(made().lines, key=lambda line: line.ts)
    later = msgspec.structs.replace(last, ts=moment(newest() + 30 * 3_600_000), seq=10_000)
    written(tmp_path, [later])
    with pytest.raises(PlaceError, match=r"the sums end at 2027-01-.*: run log compact"):
        of(tmp_path)
