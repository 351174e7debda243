"""Rank requests as decisions that are wanted, and decisions as their answers."""

from collections.abc import Iterable, Sequence
from typing import Any

from app.bandit.context import Context, Fields
from app.decisions.asked import Asked, Slot
from app.decisions.decide import Candidate
from app.messages.personalizer import (
    Action,
    MultiSlotAnswer,
    MultiSlotRank,
    RankAnswer,
    RankedAction,
    RankRequest,
    SlotAnswer,
)
from app.personalizer.errors import Refusal
from state.values.decision import Record

__all__ = ["FEATURES", "asked_of", "baseline_of", "baselines_of", "rank_answer", "slots_answer", "slots_of"]

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


def baseline_of(asked: Asked) -> dict[str, str]:
    """The action that the application would show without the service: the first one that is not excluded."""
    return {"": asked.candidates[asked.allowed()[0]].id}


def slots_of(rank: MultiSlotRank) -> list[Slot]:
    """The places to fill; what is said of one is seen beside the context. Raises Refusal."""
    ids = {action.id for action in rank.actions}
    if len(rank.slots) > len(ids):
        raise Refusal(INVALID, f"slots: {len(rank.slots)} need as many actions, and there are {len(ids)}")
    if len({slot.id for slot in rank.slots}) < len(rank.slots):
        raise Refusal(INVALID, "slots: two have the same id")
    taken: set[str] = set()
    for slot in rank.slots:
        baseline = slot.baseline_action
        if baseline not in ids or baseline in (slot.excluded_actions or ()):
            raise Refusal(INVALID, f"slots: {slot.id}: baselineAction: takes the id of an action that is not excluded")
        if baseline in taken:
            raise Refusal(INVALID, f"slots: {slot.id}: baselineAction: {baseline} is that of another slot")
        taken.add(baseline)
    shared = rank.context_features or []
    return [
        Slot(
            id=slot.id,
            features={FEATURES: [*shared, {"slot": slot.features or []}]},
            excluded=[each for each in slot.excluded_actions or () if each in ids],
        )
        for slot in rank.slots
    ]


def baselines_of(rank: MultiSlotRank) -> dict[str, str]:
    """The same for each slot, by its id."""
    return {slot.id: slot.baseline_action for slot in rank.slots}


def slots_answer(made: Sequence[Record], event_id: str) -> MultiSlotAnswer:
    """The action for each slot."""
    slots = [SlotAnswer(id=each.slot, reward_action_id=each.ids[each.chosen]) for each in made]
    return MultiSlotAnswer(slots=slots, event_id=event_id)


def rank_answer(made: Record, excluded: Iterable[str], event_id: str) -> RankAnswer:
    """The action that was drawn first, then the others by their probability; excluded ones keep their places."""
    left_out = set(excluded)
    order = [place for place, each in enumerate(made.ids) if each not in left_out]
    order.sort(key=lambda place: (place != made.chosen, -made.propensities[place]))
    best = iter(order)
    places = [place if each in left_out else next(best) for place, each in enumerate(made.ids)]
    ranking = [RankedAction(id=made.ids[place], probability=made.propensities[place]) for place in places]
    return RankAnswer(ranking=ranking, event_id=event_id, reward_action_id=made.ids[made.chosen])
