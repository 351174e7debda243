"""Whether the models of a user are to the last bit those that the log tells, and if not, from which line on."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np

from app.log_reading.rebuild import Epoch, Model
from state.values.columns import Columns
from state.values.record import Record

__all__ = ["Held", "Verdict", "verdict"]


class Held(msgspec.Struct, frozen=True):
    """What Redis holds of a user: the epoch, None if there is none; the seq of the last line; and each policy's model
    with its columns."""

    epoch: str | None
    seq: int
    models: Mapping[str, tuple[Record, Columns]]


class Verdict(msgspec.Struct, frozen=True):
    """The verdict on a user, `agrees`, `differs` or `unknown` (the log cannot tell), and the reason."""

    user: str
    what: Literal["agrees", "differs", "unknown"]
    why: tuple[str, ...] = ()


def verdict(user: str, epochs: Sequence[Epoch], held: Held) -> Verdict:
    """Compare what the log tells of a user with what Redis holds.

    Read the log after Redis, or before a moment without changes: lines that are not there yet make it `unknown`.
    """
    if held.epoch is None:
        if held.models:
            return Verdict(user, "unknown", ("its models changed when there was no log",))
        alive = [epoch for epoch in epochs if not epoch.ended]
        gone = "Redis has nothing of this user: expired, or lost"
        return Verdict(user, "unknown", (gone,)) if alive else Verdict(user, "agrees")
    found = [epoch for epoch in epochs if epoch.epoch == held.epoch]
    if not found:
        return Verdict(user, "unknown", (f"from line 1 on: the epoch {held.epoch} is not in the log",))
    return _compared(user, found[0], held)


def _compared(user: str, epoch: Epoch, held: Held) -> Verdict:
    if epoch.seq > held.seq:
        return Verdict(user, "differs", (f"the log has line {epoch.seq}, and Redis only knows of {held.seq}",))
    if epoch.seq < held.seq:
        return Verdict(user, "unknown", (f"from line {epoch.seq + 1} on: lines up to {held.seq} are not in the log",))
    lost = [
        f"{policy or 'all models'}: from line {each.seq} on: {each.why}" for policy, each in sorted(epoch.lost.items())
    ]
    wrong = [f"{policy}: {difference}" for policy, difference in _differences(epoch, held)]
    if wrong:
        return Verdict(user, "differs", (*wrong, *lost))
    return Verdict(user, "unknown", tuple(lost)) if lost else Verdict(user, "agrees")


def _differences(epoch: Epoch, held: Held) -> Iterable[tuple[str, str]]:
    for policy, model in sorted(epoch.models.items()):
        if policy not in held.models:
            yield policy, "Redis has no such model"
        elif difference := _difference(model, *held.models[policy]):
            yield policy, difference
    for policy in sorted(held.models.keys() - epoch.models.keys()):
        if policy not in epoch.lost and "" not in epoch.lost:
            yield policy, "the log tells of no such model"


def _difference(model: Model, stored: Record, columns: Columns) -> str:
    """The difference, or "". A column that only Redis has must hold what a column without any data holds."""
    places = {pair: place for place, pair in enumerate(columns.pairs)}
    if any(pair not in places for pair in model.columns.pairs):
        return "Redis lacks a column"
    at = [places[pair] for pair in model.columns.pairs]
    a, b = np.eye(len(places)), np.zeros(len(places))
    a[np.ix_(at, at)], b[at] = model.a, model.b
    wrong = [name for name, one, other in (("A", a, stored.a), ("b", b, stored.b)) if one.tobytes() != other.tobytes()]
    wrong += [
        name
        for name in model.meta.__struct_fields__
        if name != "later" and getattr(model.meta, name) != getattr(stored.meta, name)
    ]
    return f"{', '.join(wrong)} differ" if wrong else ""
