"""The decisions of a loop gathered from the log: what the evaluation takes."""

from array import array
from collections.abc import Mapping
from typing import Final

import msgspec
import numpy as np

from app.bandit.ridge import Matrix, Vector
from app.decision_log.lines import milliseconds
from app.evaluation.logged import Flags, Ints, Logged, user_code
from app.judging.regressors import Seen
from app.log_reading.joined import Told

__all__ = ["Gathered", "Range"]

_HOUR: Final = 3_600_000
_Versions = tuple[tuple[str, str], ...]


class Range(msgspec.Struct, frozen=True):
    """Rewards are from `low` to `high`; silence counts as `missing`, or as nothing if that is None."""

    low: float = -1.0
    high: float = 1.0
    missing: float | None = None


class Gathered:
    """The decisions of a loop that were added: only numbers are kept.

    Of its decision `a` columns are seen, and of each candidate `b`: `sizes`. Memory is 8 bytes for each candidate and
    each policy, and each of these columns, and some 80 for a decision.
    """

    def __init__(self, sizes: tuple[int, int]) -> None:
        self._of_decision, self._of_candidate = sizes
        self._sizes, self._chosen, self._seq = array("q"), array("q"), array("q")
        self._at, self._deadline, self._setting = array("q"), array("q"), array("q")
        self._user, self._share = array("Q"), array("d")
        self._reward, self._in_time = array("d"), array("d")
        self._settled, self._shown = array("b"), array("b")
        self._context, self._features = array("d"), array("d")
        self._propensities, self._excluded = array("d"), array("b")
        self._by_policy: dict[str, array[float]] = {}
        self._settings: dict[tuple[str, float, _Versions], int] = {}
        self._last_user = ("", 0)

    def __len__(self) -> int:
        return len(self._sizes)

    @property
    def policies(self) -> frozenset[str]:
        """Those by which decisions were scored."""
        return frozenset(self._by_policy)

    def add(self, told: Told, seen: Seen) -> None:
        """One more decision. Those of one moment must come in the order of user, epoch and seq."""
        made, at, size = told.decision, milliseconds(told.decision.ts), len(told.decision.candidates)
        champion, versions = made.champion or made.policy, tuple(sorted(made.versions.items()))
        code = self._settings.setdefault((champion, made.share, versions), len(self._settings))
        if made.user != self._last_user[0]:
            self._last_user = (made.user, user_code(made.user))
        total, in_time = told.total, told.total_in_time
        for name in (champion, *made.by_policy):
            if name not in self._by_policy:
                self._by_policy[name] = array("d", [np.nan]) * len(self._propensities)
        for name, shares in self._by_policy.items():
            shares.extend(made.by_policy.get(name) or [np.nan] * size)
        excluded = array("b", bytes(size))
        for place in made.excluded:
            excluded[place] = 1
        for kept, value in (
            (self._sizes, size),
            (self._chosen, made.chosen),
            (self._seq, made.seq),
            (self._at, at),
            (self._deadline, told.deadline),
            (self._setting, code),
            (self._user, self._last_user[1]),
            (self._share, made.share),
            (self._reward, np.nan if total is None else total),
            (self._in_time, np.nan if in_time is None else in_time),
            # A void decision is settled at once. One is not settled while it is unknown whether it was shown.
            (self._settled, -1 if told.shown is None else int(told.shown is False)),
            (self._shown, bool(told.shown)),
        ):
            kept.append(value)  # type: ignore[arg-type]  # each takes its own
        self._context.frombytes(seen.context.tobytes())
        self._features.frombytes(seen.features.tobytes())
        self._propensities.extend(made.propensities)
        self._excluded.extend(excluded)

    def names(self) -> list[tuple[int, int, int]]:
        """What names each decision, in the order of `logged`: its moment (ms), its user's code and its seq."""
        order = self._order()
        columns = (_ints(self._at)[order], np.array(self._user, np.uint64)[order], _ints(self._seq)[order])
        return list(zip(*(column.tolist() for column in columns), strict=True))

    def logged(self, as_of: int, rewards: Range, more: Mapping[str, Vector]) -> Logged:
        """All decisions by time, as of a moment (ms since 1970); `more` are probabilities of others in that order.

        Raises ValueError for a reward that is not one of the range.
        """
        order, sizes = self._order(), _ints(self._sizes)
        starts = np.concatenate(([0], np.cumsum(sizes[order])))
        # Where the candidates of each decision are, side by side.
        begin = (np.cumsum(sizes) - sizes)[order] - starts[:-1]
        places = np.repeat(begin, sizes[order]) + np.arange(starts[-1])
        settled, shown = _ints(self._settled)[order], np.array(self._shown, np.bool_)[order]
        settings = _ints(self._setting)[order]
        champion = [*self._settings][settings[-1]][0] if len(order) else ""
        logged = {name: np.array(shares)[places] for name, shares in self._by_policy.items()}
        by_policy = {champion: logged.pop(champion), **logged, **more}
        return Logged(
            champion=champion,
            starts=starts,
            propensities=np.array(self._propensities)[places],
            by_policy=by_policy,
            chosen=_ints(self._chosen)[order],
            reward=np.array(self._reward)[order],
            reward_in_time=np.array(self._in_time)[order],
            user=np.array(self._user, np.uint64)[order],
            hour=_ints(self._at)[order] // _HOUR,
            matured=((_ints(self._deadline)[order] <= as_of) & (settled == 0)) | (settled == 1),
            shown=shown,
            eras={
                name: self._eras(settings, name, _scored(shares, starts))
                for name, shares in by_policy.items()
                if name != champion
            },
            share=np.array(self._share)[order],
            excluded=np.array(self._excluded, np.bool_)[places],
            context=_matrix(self._context, self._of_decision, order),
            features=_matrix(self._features, self._of_candidate, places),
            low=rewards.low,
            high=rewards.high,
            missing=rewards.missing,
        )

    def _order(self) -> Ints:
        return np.argsort(_ints(self._at), kind="stable")

    def _eras(self, settings: Ints, name: str, scored: Flags) -> Ints:
        """The era of a challenger at each decision: another begins with each change of what `settings` say of it."""
        keys: dict[tuple[str, str, str, float], int] = {}
        of_setting = []
        for champion, share, versions in self._settings:
            known = dict(versions)
            key = (champion, known.get(champion, ""), known.get(name, ""), share)
            of_setting.append(keys.setdefault(key, len(keys)))
        found = np.zeros(len(settings), np.int64)
        own = np.array(of_setting, np.int64)[settings[scored]]
        found[scored] = np.concatenate(([0], np.cumsum(np.diff(own) != 0)))[: len(own)]
        return found


def _ints(kept: "array[int]") -> Ints:
    return np.array(kept, np.int64)


def _matrix(kept: "array[float]", columns: int, places: Ints) -> Matrix:
    if not columns:
        return np.zeros((len(places), 0))
    return np.array(kept).reshape(-1, columns)[places]


def _scored(shares: Vector, starts: Ints) -> Flags:
    """Whether a policy was scored at each decision."""
    return np.asarray(~np.isnan(shares[starts[:-1]]), np.bool_)
