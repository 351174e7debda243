"""What Azure Personalizer's clients ask of an application: ranks, rewards and activations."""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

import msgspec

from app.decisions.choose import agrees
from app.decisions.errors import Gone, NotKnown, Refused, Unfit
from app.decisions.make import Made, Maker
from app.decisions.outcome import Outcome, Outcomes, Problem, Told
from app.messages.decision_ids import decision_id
from app.messages.personalizer import MultiSlotAnswer, MultiSlotRank, RankAnswer, RankRequest
from app.personalizer.configuration import conditions
from app.personalizer.errors import Refusal
from app.personalizer.events import local_id, made_id
from app.personalizer.following import Followed
from app.personalizer.ranks import (
    INVALID,
    asked_of,
    baseline_of,
    baselines_of,
    rank_answer,
    slots_answer,
    slots_of,
)
from state.errors import KeyReused

__all__ = ["Application", "Ranked"]


class Observer(Protocol):
    """Gets what has happened, after it was written."""

    def personalizer_told(self, outcome: str) -> None:
        """What was told of an event had this outcome."""

    def personalizer_matched(self, *, matched: bool) -> None:
        """An apprentice saw a decision; whether the model would have made the same."""


class Ranked(msgspec.Struct, frozen=True):
    """The answer to a rank, whether it had been given before, and what the model would have chosen itself, by slot, if
    it is an apprentice."""

    answer: RankAnswer | MultiSlotAnswer
    repeated: bool
    agreed: Sequence[bool] = ()


class Application:
    """Decides on the loop `loop` for the application's user, or for one that a request names, and takes rewards.

    All methods raise Refusal for what does not fit, and the store's errors; ranks also BadDecision.
    """

    def __init__(self, maker: Maker, outcomes: Outcomes, followed: Followed, observer: Observer, *, loop: str) -> None:
        self._maker = maker
        self._outcomes = outcomes
        self._followed = followed
        self._observer = observer
        self._loop = loop

    async def rank(self, user: str, rank: RankRequest, request_id: str) -> Ranked:
        """Choose an action. A request without an event id gets one, the same again under the same `request_id`."""
        configuration = await self._followed.current()
        event_id = rank.event_id or made_id(rank, request_id or secrets.token_hex(16))
        asked = asked_of(rank, user=user, loop=self._loop, local=local_id(event_id))
        agreed = conditions(configuration, baseline_of(asked))
        with _named(event_id):
            made = await self._maker.make(asked, conditions=agreed, name=event_id)
        return self._ranked(rank_answer(made.record, asked.excluded, event_id), [made], apprentice=bool(agreed.shown))

    async def rank_slots(self, user: str, rank: MultiSlotRank, request_id: str) -> Ranked:
        """Choose an action for each slot, none twice."""
        configuration = await self._followed.current()
        event_id = rank.event_id or made_id(rank, request_id or secrets.token_hex(16))
        asked = asked_of(rank, user=user, loop=self._loop, local=local_id(event_id))
        agreed = conditions(configuration, baselines_of(rank))
        with _named(event_id):
            made = await self._maker.make_slots(asked, slots_of(rank), conditions=agreed, name=event_id)
        answer = slots_answer([each.record for each in made], event_id)
        return self._ranked(answer, made, apprentice=bool(agreed.shown))

    def _ranked(self, answer: RankAnswer | MultiSlotAnswer, made: Sequence[Made], *, apprentice: bool) -> Ranked:
        repeated = made[0].repeated
        if repeated or not apprentice:
            return Ranked(answer, repeated)
        agreed = [agrees(each.record, each.record.by_policy[0].propensities) for each in made]
        for matched in agreed:
            self._observer.personalizer_matched(matched=matched)
        return Ranked(answer, repeated, agreed)

    async def reward(self, user: str, event_id: str, value: float, request_id: str) -> str:
        """Note what an event earned; how that ended."""
        whole, ways = decision_id(local_id(event_id), user), await self._told({"": value}, request_id)
        end: Outcome | Problem
        for told in ways:
            try:
                end = await self._outcomes.reward(whole, told[""])
            except (NotKnown, Gone, Refused, Unfit) as problem:
                end = problem
            if not isinstance(end, Unfit):  # else the event began under another configuration
                break
        return self._noted(end)

    async def reward_slots(self, user: str, event_id: str, values: Mapping[str, float], request_id: str) -> str:
        """Note what the actions of some slots earned; how each of that ended, separated by commas."""
        whole, first, second = decision_id(local_id(event_id), user), *await self._told(values, request_id)
        try:
            found = await self._outcomes.reward_slots(whole, first)
            again = {slot: second[slot] for slot, one in zip(first, found, strict=True) if isinstance(one, Unfit)}
            ends = dict(zip(first, found, strict=True))
            if again:
                ends |= zip(again, await self._outcomes.reward_slots(whole, again), strict=True)
        except (NotKnown, Gone) as problem:
            ends = dict.fromkeys(first, problem)
        return self._noted(*ends.values())

    async def activate(self, user: str, event_id: str) -> str:
        """Note that an event was shown, all its slots; how that ended."""
        try:
            return self._noted(*await self._outcomes.activate_all(decision_id(local_id(event_id), user)))
        except (NotKnown, Gone) as problem:
            return self._noted(problem)

    async def _told(self, values: Mapping[str, float], request_id: str) -> tuple[dict[str, Told], dict[str, Told]]:
        """The rewards as the configuration has them, and as the other aggregation has them."""
        part = request_id or secrets.token_hex(16)
        alone = {slot: Told(reward=value) for slot, value in values.items()}
        added = {slot: Told(reward=value, part=part) for slot, value in values.items()}
        adds = (await self._followed.current()).aggregation == "sum"
        return (added, alone) if adds else (alone, added)

    def _noted(self, *ends: Outcome | Problem) -> str:
        found = [_word(end) for end in ends]
        for word in found:
            self._observer.personalizer_told(word)
        return ",".join(dict.fromkeys(found))


@contextmanager
def _named(event_id: str) -> Iterator[None]:
    """An error about an id names the id that the client sent."""
    try:
        yield
    except KeyReused:
        raise Refusal(INVALID, f"eventId: {event_id} was used before for another rank") from None


def _word(end: Outcome | Problem) -> str:
    """How it ended: as an outcome says, or not known, or another reward was first, or there is room for no more."""
    match end:
        case Outcome(what=what):
            return what
        case NotKnown() | Gone():
            return "unknown"
        case Refused(status="void" | "cancelled"):
            return end.status
        case Refused():
            return "dropped"
    return "full"
