"""What judges the log in `./dev chaos` can fail, and its places are broken and whole again as it says."""

import random

import msgspec
import pytest

from app.decision_log.lines import Decision, Line, State, decode, encode, moment
from app.decision_log.place import PlaceError
from app.log_reading.reading import lines
from app.log_reading.verify import Verdict
from app.messages.decision_ids import decision_id
from tests.support.told import Made
from tests.system.chaos.log.judge import Told, judge_lines, judge_users
from tests.system.chaos.log.places import PLACES
from tests.system.chaos.loops import LOOPS

pytestmark = pytest.mark.anyio

_MADE = Made("ann", "monday", LOOPS["patient"])
_DECISION = Decision(
    id=decision_id("monday", "ann"),
    user="ann",
    epoch="e",
    seq=2,
    ts=moment(0),
    loop="patient",
    policy="serves",
    arm="champion",
    versions={},
    prior={},
    state=0,
    seed="1",
    context={},
    user_features={},
    candidates=[],
    x={},
    propensities=[],
    chosen=0,
    propensity=1.0,
    by_policy={},
    window_s=1,
    default_reward=None,
    deferred=False,
)


def score(seq: int, user: str = "ann", epoch: str = "e") -> State:
    return State(user=user, epoch=epoch, seq=seq, ts=moment(0), what="score", policy="egreedy-v1")


def judged(*found: Line) -> Told:
    verdict = Told("files")
    judge_lines(found, [_MADE], verdict)
    return verdict


def test_all_there() -> None:
    """Lines are right in any order, also of several epochs, and those of no user are only counted."""
    other = score(1, epoch="f")
    verdict = judged(score(3), other, _DECISION, score(1), score(1, "bob"), score(9, ""))
    assert (verdict.lines, verdict.again, verdict.missing, verdict.findings) == (6, 0, 0, [])


def test_written_again() -> None:
    """A line may be there again, but not with other words."""
    verdict = judged(score(1), _DECISION, score(1))
    assert (verdict.again, verdict.findings) == (1, [])
    verdict = judged(score(1), _DECISION, msgspec.structs.replace(score(1), explored=True))
    assert verdict.findings == ["line 1 of ann, epoch e, is there in two versions"]


@pytest.mark.parametrize("gone", [1, 3])
def test_missing(gone: int) -> None:
    """A line that others follow is missed, the first one too."""
    verdict = judged(*(each for each in (score(1), _DECISION, score(3), score(4)) if each.seq != gone))
    assert (verdict.missing, verdict.findings) == (1, [f"line {gone} of ann, epoch e, is missing"])


def test_begun() -> None:
    """Where the models were there before the log, it begins with them."""
    begun = msgspec.structs.replace(score(5, "bob"), what="begun")
    assert judged(score(1), _DECISION, begun, score(6, "bob")).missing == 0
    assert judged(score(1), _DECISION, begun, score(7, "bob")).missing == 1


def test_a_lost_decision() -> None:
    """A decision that was answered is in the log."""
    assert judged(score(1), score(2)).findings == ["decision monday of ann was answered and is not in the log"]


def test_users() -> None:
    """Each user agrees, and is known at all."""
    verdict = Told("files")
    judge_users([Verdict("ann", "agrees"), Verdict("bob", "unknown", ("why",))], ["ann", "cid"], verdict)
    assert (verdict.users, verdict.agree) == (3, 1)
    assert verdict.findings == ["bob: the log says unknown: why", "cid is not in the log"]


@pytest.mark.parametrize("kind", PLACES)
async def test_places(kind: str) -> None:
    """While the first fault lasts nothing can be written, and afterwards a line that was cut off is written again."""
    long = msgspec.structs.replace(score(2), x={f"{number}": 1.0 for number in range(2_000)})
    with PLACES[kind]() as place:
        writer = place.open()
        await writer.write([("", encode(score(1)))])
        fault = place.strike(random.Random(1))
        fault.begin()
        late = place.open()
        with pytest.raises(PlaceError):
            await late.write([("", encode(long))])
        fault.end()
        await late.write([("", encode(long))])
        await late.close()
        await writer.close()
        complaints: list[str] = []
        found = sorted(lines(await place.copied(), complaints.append), key=lambda line: line.seq)
    assert (found, complaints) == ([score(1), decode(encode(long))], [])
