"""What is said of a user whose log and models were compared."""

from collections.abc import Callable

import numpy as np
import pytest

from app.decision_log.lines import Line, Taught
from app.log_reading.rebuild import Epoch, rebuilt
from app.log_reading.verify import Held, Verdict, verdict
from state.values.columns import Columns
from state.values.record import Record
from tests.unit.app.decision_log.samples import decision, outcome, state

ONE, A, B = ("1", "x"), ("a", "y"), ("b", "z")
KNOWN = {"own": Columns((ONE, A))}
LINES: list[Line] = [
    decision(1, policy="p", x={"1": 1.0, "a": 0.5}),
    outcome(2, taught={"p": Taught("own", "own", 1)}, total=0.25),
]


def epochs(*lines: Line) -> list[Epoch]:
    [found] = rebuilt(lines, KNOWN.get)
    return found


def stored(found: list[Epoch], *, columns: tuple[tuple[str, str], ...] = (ONE, A)) -> Held:
    """What Redis holds if it agrees."""
    model = found[0].models["p"]
    return Held("9f2c", found[0].seq, {"p": (Record(model.a, model.b, model.meta), Columns(columns))})


def test_it_agrees() -> None:
    """All of A, b and the counters."""
    found = epochs(*LINES)
    assert verdict("ann", found, stored(found)) == Verdict("ann", "agrees")


def test_other_columns() -> None:
    """Redis may have more columns, elsewhere, if they are as they were in the beginning."""
    found = epochs(*LINES)
    model = found[0].models["p"]
    places = [2, 0]
    a, b = np.eye(3), np.zeros(3)
    a[np.ix_(places, places)], b[places] = model.a, model.b
    columns = Columns((A, B, ONE))
    held = Held("9f2c", 2, {"p": (Record(a, b, model.meta), columns)})
    assert verdict("ann", found, held).what == "agrees"
    b[1] = 5e-324
    assert verdict("ann", found, held) == Verdict("ann", "differs", ("p: b differ",))
    held = Held("9f2c", 2, {"p": (Record(model.a, model.b, model.meta), Columns((ONE, B)))})
    assert verdict("ann", found, held).why == ("p: Redis lacks a column",)


@pytest.mark.parametrize("what", ["A", "b", "pulls", "squares"])
def test_one_bit_differs(what: str) -> None:
    """And it is said of which."""
    found = epochs(*LINES)
    held = stored(found)
    record, columns = held.models["p"]
    meta = record.meta
    a, b = record.a.copy(), record.b.copy()
    if what == "A":
        a[0, 1] = np.nextafter(a[0, 1], 1)
    elif what == "b":
        b[1] = np.nextafter(b[1], 1)
    else:
        meta = meta.decided(meta.last_updated, explored=False) if what == "pulls" else meta
        meta = meta.adjusted(0.0, rewards=0, weight=0.0, squares=1e-12) if what == "squares" else meta
    other = Held("9f2c", 2, {"p": (Record(a, b, meta), columns)})
    assert verdict("ann", found, other) == Verdict("ann", "differs", (f"p: {what} differ",))


@pytest.mark.parametrize(
    ("lines", "held", "expected", "why"),
    [
        (LINES, lambda held: Held(None, 0, {}), "unknown", "Redis has nothing"),
        ([*LINES, state(3)], lambda held: Held(None, 0, {}), "agrees", ""),
        (LINES, lambda held: Held(None, 0, held.models), "unknown", "when there was no log"),
        (LINES, lambda held: Held("other", 5, held.models), "unknown", "the epoch other is not in the log"),
        (LINES, lambda held: Held("9f2c", 3, held.models), "unknown", "from line 3 on: lines up to 3 are not"),
        (LINES, lambda held: Held("9f2c", 1, held.models), "differs", "Redis only knows of 1"),
        (LINES, lambda held: Held("9f2c", 2, {}), "differs", "p: Redis has no such model"),
        (LINES, lambda held: Held("9f2c", 2, {**held.models, "q": held.models["p"]}), "differs", "q: the log tells"),
        (LINES[1:], lambda held: held, "unknown", "all models: from line 1 on: line 1 missing"),
        ([LINES[0], decision(2, policy="q"), outcome(3, taught={"q": Taught("?", "?", 1)})],
         lambda held: Held("9f2c", 3, {}), "differs", "p: Redis has no such model"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared(lines: list[Line], held: Callable[[Held], Held], expected: str, why: str) -> None:
    """It is unknown, never agreed, and it is said from where on; a difference is told first."""
    found = epochs(*lines)
    told = verdict("ann", found, held(stored(epochs(*LINES))))
    assert told.what == expected
    assert why in "; ".join(told.why)


def test_several_epochs() -> None:
    """The one that Redis names is compared, whichever comes first."""
    ended = [state(1, epoch="0", what="reset")]
    found = epochs(*ended, *LINES)
    assert verdict("ann", found, stored(found[1:])).what == "agrees"
