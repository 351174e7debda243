"""What Azure Personalizer's clients ask of an application: ranks, rewards and activations."""

import secrets
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from app.decisions.asked import Told
from app.decisions.errors import Gone, NotKnown, Refused, Unfit
from app.decisions.make import Maker
from app.decisions.outcome import Outcome, Outcomes
from app.messages.decision_ids import decision_id
from app.messages.personalizer import RankAnswer, RankRequest
from app.personalizer.events import local_id, made_id
from app.personalizer.following import Followed
from app.personalizer.ranks import asked_of, rank_answer

__all__ = ["Application", "Ranked"]

# How a reward or an activation ended, beside what an Outcome says: the event is not known; another reward was first;
# its time was over before it was shown.
UNKNOWN: Final = "unknown"
DROPPED: Final = "dropped"


class Ranked(msgspec.Struct, frozen=True):
    """The answer to a rank, and whether it had been given before."""

    answer: RankAnswer
    repeated: bool


class Application:
    """Decides on the loop `loop` for the application's user, or for one that a request names, and takes rewards.

    All methods raise Refusal for what does not fit, and the store's errors.
    """

    def __init__(
        self,
        maker: Maker,
        outcomes: Outcomes,
        followed: Followed,
        *,
        loop: str,
        told: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._maker = maker
        self._outcomes = outcomes
        self._followed = followed
        self._loop = loop
        self._told = told

    async def rank(self, user: str, rank: RankRequest, request_id: str) -> Ranked:
        """Choose an action. A request without an event id gets one, the same again under the same `request_id`.

        Raises also BadDecision and KeyReused.
        """
        await self._followed.current()
        event_id = rank.event_id or made_id(rank, request_id or secrets.token_hex(16))
        asked = asked_of(rank, user=user, loop=self._loop, local=local_id(event_id))
        made = await self._maker.make(asked)
        return Ranked(rank_answer(made.record, asked.excluded, event_id), made.repeated)

    async def reward(self, user: str, event_id: str, value: float, request_id: str) -> str:
        """Note what an event earned; how that ended."""
        configuration = await self._followed.current()
        whole = decision_id(local_id(event_id), user)
        part = request_id or secrets.token_hex(16)
        adds = configuration.aggregation == "sum"
        try:
            return await self._ended(self._outcomes.reward(whole, Told(reward=value, part=part if adds else None)))
        except Unfit:  # the event began under another configuration
            return await self._ended(self._outcomes.reward(whole, Told(reward=value, part=None if adds else part)))

    async def activate(self, user: str, event_id: str) -> str:
        """Note that an event was shown; how that ended."""
        return await self._ended(self._outcomes.activate(decision_id(local_id(event_id), user)))

    async def _ended(self, work: Awaitable[Outcome]) -> str:
        how: str
        try:
            how = (await work).what
        except (NotKnown, Gone):
            how = UNKNOWN
        except Refused as refused:
            how = refused.status if refused.status in ("void", "cancelled") else DROPPED
        self._told(how)
        return how
