"""Rank requests as decisions that are wanted, and decisions as their answers."""

from collections.abc import Iterable, Sequence
from typing import Any

from app.bandit.context import Context, Fields
from app.decisions.asked import Asked
from app.decisions.decide import Candidate
from app.messages.personalizer import Action, MultiSlotRank, RankAnswer, RankedAction, RankRequest
from app.personalizer.errors import Refusal
from state.values.decision import Record

__all__ = ["FEATURES", "asked_of", "baseline_of", "rank_answer"]

# The field of a context and of a candidate that holds all features.
FEATURES = "features"
INVALID = "InvalidRankRequest"


def asked_of(rank: RankRequest | MultiSlotRank, *, user: str, loop: str, local: str) -> Asked:
    """The decision that is wanted for `user`, under the id `local`. Raises Refusal."""
    ids = [action.id for action in rank.actions]
    if len(set(ids)) < len(ids):
        raise Refusal(INVALID, "actions: two have the same id")
    excluded = set(rank.excluded_actions or ()) if isinstance(rank, RankRequest) else set()
    if excluded.issuperset(ids):
        raise Refusal(INVALID, "excludedActions: no action is left")
    return Asked(
        user_id=user,
        loop=loop,
        context=Context({FEATURES: rank.context_features or []}),
        candidates=[Candidate(action.id, _features(action)) for action in rank.actions],
        excluded=[each for each in ids if each in excluded],
        deferred=bool(rank.defer_activation),
        local=local,
    )


def _features(action: Action) -> Fields:
    """An action without features is told from others by its id."""
    said: Sequence[dict[str, Any]] = action.features or [{"id": action.id}]
    return {FEATURES: said}


def baseline_of(ids: Iterable[str], excluded: Iterable[str]) -> str:
    """What would be shown without the service: the first action that is not excluded."""
    left_out = set(excluded)
    return next(each for each in ids if each not in left_out)


def rank_answer(made: Record, excluded: Iterable[str], event_id: str) -> RankAnswer:
    """The action that was drawn first, then the others by their probability; excluded ones keep their places."""
    left_out = set(excluded)
    order = [place for place, each in enumerate(made.ids) if each not in left_out]
    order.sort(key=lambda place: (place != made.chosen, -made.propensities[place]))
    best = iter(order)
    places = [place if each in left_out else next(best) for place, each in enumerate(made.ids)]
    ranking = [RankedAction(id=made.ids[place], probability=made.propensities[place]) for place in places]
    return RankAnswer(ranking=ranking, event_id=event_id, reward_action_id=made.ids[made.chosen])
