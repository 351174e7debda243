"""Computes the models of users again from the log: A, b and counters, to the last bit, by the operations of serving."""

from array import array
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import groupby
from typing import Final

import msgspec
import numpy as np

from app.bandit import columns as bandit
from app.bandit.features import CONSTANT
from app.bandit.ridge import Matrix, Singular, Vector, adjust, observe
from app.decision_log.lines import Decision, Line, Outcome, Snapshot, State, Taught, milliseconds
from app.learning.steps import correction, grown, known_then, rewarded
from state.errors import CorruptState
from state.values import record
from state.values.columns import Columns
from state.values.record import Meta

__all__ = ["FIRST", "Epoch", "Lost", "Model", "Resolve", "own_row", "rebuilt"]

# The seq of the first line of an epoch.
FIRST: Final = 1
# Decisions of one epoch whose columns are kept for outcomes to come: more than a user's records may be.
_KEPT: Final = 500_000
# Gives the columns that a fingerprint names, None if they are unknown.
Resolve = Callable[[str], Columns | None]


class Model(msgspec.Struct, frozen=True):
    """A model as the log tells it: A (d x d) and b (d) for its `columns`, and the counters."""

    a: Matrix
    b: Vector
    meta: Meta
    columns: Columns


class Lost(msgspec.Struct, frozen=True):
    """From the line `seq` on a model cannot be computed, and why."""

    seq: int
    why: str


_NEW: Final = Model(np.zeros((0, 0)), np.zeros(0), Meta(), Columns(()))


class Epoch:
    """The models of a user in one epoch, after all lines that it took.

    `models` are those that can be computed, by policy, and `lost` tells of others why not: of all under "". `seq` is
    that of the last line, and `ended` whether a reset or an erasure was it.
    """

    def __init__(self, user: str, epoch: str, resolve: Resolve) -> None:
        self.user = user
        self.epoch = epoch
        self.seq = FIRST - 1
        self.ended = False
        self.models: dict[str, Model] = {}
        self.lost: dict[str, Lost] = {}
        self._resolve = resolve
        self._decided: dict[int, tuple[tuple[str, ...], array[float]]] = {}

    def take(self, line: Line) -> None:
        """Do what the next line tells."""
        if line.seq != self.seq + 1:
            missing = f"line {self.seq + 1}" if line.seq == self.seq + 2 else f"lines {self.seq + 1} to {line.seq - 1}"
            self._lose_all(Lost(self.seq + 1, f"{missing} missing"))
        self.seq, self.ended = line.seq, False
        at = milliseconds(line.ts) // 1_000
        if isinstance(line, Decision):
            self._decided[line.seq] = (_labels(tuple(line.x)), array("d", line.x.values()))
            if len(self._decided) > _KEPT:
                del self._decided[next(iter(self._decided))]
            self._count(line.policy, at, explored=line.explored)
        elif isinstance(line, Outcome):
            self._outcome(line, at)
        else:
            self._state(line, at)

    def _outcome(self, line: Outcome, at: int) -> None:
        if not line.taught:
            return
        decided = self._decided.get(line.born)
        if line.x is not None:
            decided = (tuple(line.x), array("d", line.x.values()))
        for policy, taught in line.taught.items():
            if decided is None:
                self._lose(policy, f"the decision, line {line.born}, is not there")
            elif line.was is None and line.total is not None:
                self._teach(policy, decided, taught, line.total, at)
            elif line.was is not None:
                self._correct(policy, decided, taught, line.was, line.total)
            else:
                self._lose(policy, "an outcome without a reward changed it")

    def _state(self, line: State, at: int) -> None:
        if line.what == "score":
            self._count(line.policy, at, explored=line.explored)
        elif line.what == "reward" and line.taught is not None and line.reward is not None:
            decided = (tuple(line.x), array("d", line.x.values()))
            self._teach(line.policy, decided, line.taught, line.reward, at)
        elif line.what == "reward":
            self._lose(line.policy, "a reward whose effect the line does not tell")
        elif line.what in ("reset", "erased"):
            self.models, self.lost, self.ended = {}, {}, True
        elif line.what in ("restored", "begun"):
            self.models, self.lost = {}, {}
        for policy, snapshot in line.models.items():
            self._replace(policy, snapshot)
        for policy in line.lacking:
            self._lose(policy, "the line does not have the model, which is too large")

    def _replace(self, policy: str, snapshot: Snapshot) -> None:
        columns = self._columns(policy, snapshot.columns)
        if columns is None:
            return
        fields = (snapshot.a, snapshot.b, snapshot.meta, snapshot.columns.encode())
        try:
            found = record.decode(f"line {self.seq}", len(columns.pairs), fields)
        except CorruptState as error:
            self._lose(policy, str(error))
            return
        assert found is not None  # noqa: S101  # all fields are there
        self.lost.pop(policy, None)
        self.models[policy] = Model(found.a, found.b, found.meta, columns)

    def _count(self, policy: str, at: int, *, explored: bool) -> None:
        model = self._model(policy)
        if model is not None:
            self.models[policy] = msgspec.structs.replace(model, meta=model.meta.decided(at, explored=explored))

    def _teach(
        self, policy: str, decided: tuple[tuple[str, ...], "array[float]"], taught: Taught, reward: float, at: int
    ) -> None:
        found = self._row(policy, decided, taught, taught.columns)
        if found is None:
            return
        model, x = found
        if model.meta.updates + 1 != taught.updates:
            self._lose(policy, f"it had learned {taught.updates - 1} rewards, not the {model.meta.updates} of the log")
            return
        meta = rewarded(model.meta, reward, at, baseline=taught.baseline, forget=taught.forget)
        try:
            a, b = observe(model.a, model.b, x, reward - taught.baseline, taught.forget)
        except Singular as error:
            self._lose(policy, str(error))
        else:
            self.models[policy] = Model(a, b, meta, model.columns)

    def _correct(
        self,
        policy: str,
        decided: tuple[tuple[str, ...], "array[float]"],
        taught: Taught,
        was: float,
        now: float | None,
    ) -> None:
        found = self._row(policy, decided, taught, taught.had or taught.columns)
        if found is None:
            return
        model, x = found
        made = correction(model.meta, taught.updates, was=was, now=now, baseline=taught.baseline, forget=taught.forget)
        try:
            a, b = adjust(model.a, model.b, x, seen=made.seen, change=made.change)
        except Singular as error:
            self._lose(policy, str(error))
        else:
            self.models[policy] = Model(a, b, made.meta, model.columns)

    def _row(
        self, policy: str, decided: tuple[tuple[str, ...], "array[float]"], taught: Taught, had: str
    ) -> tuple[Model, Vector] | None:
        """The model with all the columns that it has after the change, and the chosen candidate's row of them."""
        model = self._model(policy)
        if model is None:
            return None
        own, after, then = (self._columns(policy, name) for name in (taught.own, taught.columns, had))
        if own is None or after is None or then is None:
            return None
        places = {pair: place for place, pair in enumerate(after.pairs)}
        if after.pairs[: len(model.columns.pairs)] != model.columns.pairs or any(p not in places for p in own.pairs):
            self._lose(policy, "its columns are not those that the lines before tell")
            return None
        a, b = grown(model.a, model.b, len(after.pairs))
        x = np.zeros(len(b))
        x[[places[pair] for pair in own.pairs]] = known_then(own_row(own, *decided), own, then)
        return Model(a, b, model.meta, after), x

    def _model(self, policy: str) -> Model | None:
        """The model, a new one if there was none; None if it is lost."""
        found = self.models.get(policy)
        if found is None and "" not in self.lost and policy not in self.lost:
            return _NEW
        return found

    def _columns(self, policy: str, fingerprint: str) -> Columns | None:
        found = self._resolve(fingerprint)
        if found is None:
            self._lose(policy, f"the columns {fingerprint!r} are unknown")
        return found

    def _lose(self, policy: str, why: str) -> None:
        self.models.pop(policy, None)
        if "" not in self.lost:
            self.lost.setdefault(policy, Lost(self.seq, why))

    def _lose_all(self, lost: Lost) -> None:
        self.models.clear()
        self.lost.setdefault("", lost)


def rebuilt(lines: Iterable[Line], resolve: Resolve) -> Iterator[list[Epoch]]:
    """The epochs of each user in `lines`, which are in the order of `reading.read`: one user at a time."""
    for user, of_user in groupby(lines, lambda line: line.user):
        if not user:
            continue  # erasures, and changes of loops
        epochs = []
        for name, of_epoch in groupby(of_user, lambda line: line.epoch):
            epoch = Epoch(user, name, resolve)
            for line in of_epoch:
                epoch.take(line)
            epochs.append(epoch)
        yield epochs


@lru_cache(64)
def _labels(labels: tuple[str, ...]) -> tuple[str, ...]:
    """One tuple for all decisions that have these labels."""
    return labels


def own_row(own: Columns, labels: tuple[str, ...], x: "array[float]") -> Vector:
    """A policy's columns of base columns; one that the decision did not have is 0, but the constant is always there."""
    known = {CONSTANT: 1.0, **dict(zip(labels, x, strict=True))}
    products = _products(own)
    row: Vector = products.of(np.array([[known.get(label, 0.0) for label in products.base]]))[0]
    return row


@lru_cache(256)
def _products(own: Columns) -> bandit.Columns:
    factors = dict.fromkeys([CONSTANT, *(part for label in own.labels for part in label.split(bandit.TIMES))])
    return bandit.Columns(own.labels, tuple(factors))
