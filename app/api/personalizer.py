"""The routes by which Azure Personalizer's clients rank, reward and activate."""

from typing import Final

from app.api.azure import Call, Reply, Route
from app.http.headers import REPLAYED
from app.messages.personalizer import MultiSlotRank, MultiSlotReward, RankRequest, RewardRequest
from app.messages.reading import Reader, Unreadable
from app.personalizer.application import Application, Ranked
from app.personalizer.events import LONGEST
from app.precedence import Precedence

__all__ = ["event_routes"]

_LONGEST_USER: Final = 256
_read_rank: Final = Reader(RankRequest, untyped=float)
_read_slots: Final = Reader(MultiSlotRank, untyped=float)
_read_reward: Final = Reader(RewardRequest)
_read_rewards: Final = Reader(MultiSlotReward)


def event_routes(application: Application, name: str, precedence: Precedence) -> list[Route]:
    """The routes of events, which are kept under the user id `name` unless a request names another."""

    async def rank(call: Call) -> Reply:
        body = await call.body()
        with precedence:
            return _ranked(await application.rank(user_of(call, name), _read_rank(body), call.request_id))

    async def rank_slots(call: Call) -> Reply:
        body = await call.body()
        with precedence:
            return _ranked(await application.rank_slots(user_of(call, name), _read_slots(body), call.request_id))

    async def reward(call: Call) -> Reply:
        body = await call.body()
        with precedence:
            value = _read_reward(body).value
            return _ended(await application.reward(user_of(call, name), _event(call), value, call.request_id))

    async def reward_slots(call: Call) -> Reply:
        body = await call.body()
        with precedence:
            values = _by_slot(_read_rewards(body))
            return _ended(await application.reward_slots(user_of(call, name), _event(call), values, call.request_id))

    async def activate(call: Call) -> Reply:
        await call.body()
        with precedence:
            return _ended(await application.activate(user_of(call, name), _event(call)))

    return [
        Route("POST", "/rank", "InvalidRankRequest", rank),
        Route("POST", "/events/{event_id}/reward", "InvalidRewardRequest", reward),
        Route("POST", "/events/{event_id}/activate", "InvalidEventIdToActivate", activate),
        Route("POST", "/multislot/rank", "InvalidRankRequest", rank_slots),
        Route("POST", "/multislot/events/{event_id}/reward", "InvalidRewardRequest", reward_slots),
        Route("POST", "/multislot/events/{event_id}/activate", "InvalidEventIdToActivate", activate),
    ]


def user_of(call: Call, name: str) -> str:
    """The user whose models decide and learn. Raises Unreadable."""
    sent = call.header(b"x-oo-user")
    if len(sent) > _LONGEST_USER or not sent.isprintable() or not sent.isascii():
        raise Unreadable(f"the header x-oo-user takes 1 to {_LONGEST_USER} visible ASCII characters")
    return sent or name


def _by_slot(sent: MultiSlotReward) -> dict[str, float]:
    """Raises Unreadable."""
    values = {each.slot_id: each.value for each in sent.reward}
    if len(values) < len(sent.reward):
        raise Unreadable("reward: two are of the same slot")
    return values


def _event(call: Call) -> str:
    if len(call.parameter) > LONGEST:
        raise Unreadable(f"eventId: takes at most {LONGEST} characters")
    return call.parameter


def _ranked(ranked: Ranked) -> Reply:
    headers = list(REPLAYED if ranked.repeated else ())
    if ranked.agreed:
        headers.append((b"x-oo-matched", b",".join(b"true" if each else b"false" for each in ranked.agreed)))
    return Reply(201, ranked.answer, headers)


def _ended(how: str) -> Reply:
    return Reply(204, None, ((b"x-oo-outcome", how.encode()),))
