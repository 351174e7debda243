"""What a client can say of one decision, and whether each answer is what must stand by then.

A correction or a retraction names the outcome that it follows (`if_n`). Without, a request that a frozen process still
holds would undo a later one when the process goes on.
"""

import random
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import urlencode

from tests.support.told import Made
from tests.system.chaos.ledger import Ledger
from tests.system.chaos.loops import LOOPS, columns, draw_context, draw_features, draw_user

__all__ = ["PARTS", "Ask", "Reply", "SurprisedError", "Telling"]

PARTS: Final = ("a", "b", "c")


class Reply(NamedTuple):
    """A whole answer, to be made no other by a repeat."""

    status: int
    body: dict[str, Any]
    replayed: bool


class Ask(Protocol):
    """Sends a request, with an idempotency key if one is given, until it is answered by something else than 503."""

    async def __call__(self, method: str, path: str, body: Any = None, key: str | None = None) -> Reply: ...


class SurprisedError(Exception):
    """An answer is not what it must be; it is written down already."""


class Telling:
    """One decision for `user` in one of the `loops` under the id `name`, in `book` with all that is told of it.

    With `alone` there is one candidate, so that a decision which is made again chooses the same.
    """

    def __init__(
        self,
        draw: random.Random,
        ask: Ask,
        book: Ledger,
        *,
        user: str,
        name: str,
        loops: Sequence[str] = tuple(LOOPS),
        alone: bool = False,
    ) -> None:
        self._draw, self._ask, self._book = draw, ask, book
        self._user, self._name, self._alone = user, name, alone
        self._loop = draw.choice(loops)
        self._path = ""
        self._made = Made(user, name, LOOPS[self._loop])
        # The part that was told first, and its value.
        self._first = "", 0.0

    async def _decide(self, *, defer: bool) -> None:
        draw, made = self._draw, self._made
        context, user = draw_context(draw), draw_user(draw)
        features = {f"{self._name}-{place}": draw_features(draw) for place in range(1 if self._alone else 3)}
        body: dict[str, Any] = {
            "user_id": self._user,
            "loop": self._loop,
            "context": context,
            "user": user,
            "candidates": [{"id": name, "features": said} for name, said in features.items()],
            "defer": defer,
        }
        key = self._name if draw.random() < 0.3 else None
        if key is None:
            body["id"] = self._name
        reply = await self._ask("POST", "/decisions", body, key)
        self._expect(reply, 200)
        chosen = reply.body["candidate_id"]
        made.candidate = chosen
        made.x = {each: columns(each, context, user, features[chosen]) for each in made.loop.policies}
        made.status = "deferred" if defer else "open"
        self._path = f"/decisions/{reply.body['decision_id']}"
        self._book.decisions[self._name] = made
        self._book.told["decisions"] += 1
        if draw.random() < 0.2:
            again = await self._ask("POST", "/decisions", body, key)
            self._expect(again, 200)
            if not again.replayed or again.body["candidate_id"] != chosen:
                self._surprise("another decision under the same id")
            self._book.told["repeats"] += 1
        if draw.random() < 0.05:
            other = {**body, "context": {**context, "mood": 1 - context["mood"] / 2}}
            self._expect(await self._ask("POST", "/decisions", other, key), 422)

    async def _nothing(self) -> None:
        """Say nothing of it."""

    async def _activate(self) -> None:
        reply = await self._ask("POST", f"{self._path}/activate")
        if self._expect(reply, 200, 409) == 200:
            self._made.activate()
            self._book.told["activations"] += 1
        self._compare(reply)

    async def _cancel(self) -> None:
        reply = await self._ask("POST", f"{self._path}/cancel")
        if self._expect(reply, 200, 409) == 200 and reply.body["status"] == "cancelled":
            self._made.cancel()
            self._book.told["cancellations"] += 1
        self._compare(reply)
        if self._made.status == "cancelled" and not self._made.parts:
            refused = await self._ask("POST", f"{self._path}/reward", {"reward": 1, **self._part(PARTS[0])})
            self._expect(refused, 409)

    async def _reward(self) -> None:
        """The first reward, or some parts of it."""
        for name in self._draw.sample(PARTS, self._draw.randint(1, 3)) if self._made.loop.adds_up else [""]:
            if self._made.status in ("void", "cancelled"):
                return
            value = self._value()
            reply = await self._ask("POST", f"{self._path}/reward", {"reward": value, **self._part(name)})
            if self._expect(reply, 200, 409) == 200 and reply.body["outcome"] != "late":
                self._learned(reply, value, name)
                self._first = name, value
                self._book.told["rewards"] += 1
            self._compare(reply)

    async def _again(self) -> None:
        """The first value once more changes nothing, whatever came meanwhile."""
        name, value = self._first
        reply = await self._ask("POST", f"{self._path}/reward", {"reward": value, **self._part(name)})
        if self._expect(reply, 200) and reply.body["outcome"] != "duplicate":
            self._surprise(f"{reply.body['outcome']} for a repeated reward")
        self._book.told["repeats"] += 1
        self._compare(reply)

    async def _contradict(self) -> None:
        """Another value is refused, and so is a correction of what is not the last outcome."""
        name, value = self._first
        said = {"reward": value + 5, **self._part(name)}
        if self._draw.random() < 0.5:
            reply = await self._ask("POST", f"{self._path}/reward", said)
        else:
            reply = await self._ask("PUT", f"{self._path}/reward", {**said, "if_n": self._made.n + 7})
        self._expect(reply, 409)
        self._compare(reply)

    async def _correct(self) -> None:
        name, value = self._draw.choice(list(self._made.parts)), self._value()
        if self._made.parts[name] == value:
            value += 2
        said = {"reward": value, "if_n": self._made.n, **self._part(name)}
        reply = await self._ask("PUT", f"{self._path}/reward", said)
        if await self._changed(reply):
            self._made.tell(value, name)
            self._book.told["corrections"] += 1
        self._compare(reply)

    async def _retract(self) -> None:
        name = self._draw.choice(list(self._made.parts))
        gone = self._made.parts[name] is None
        query = urlencode({"if_n": self._made.n, **self._part(name)})
        reply = await self._ask("DELETE", f"{self._path}/reward?{query}")
        if await self._changed(reply) and not gone:
            self._made.tell(None, name)
            self._book.told["retractions"] += 1
        self._compare(reply)

    async def _refused(self, method: str) -> None:
        """What must change nothing after the deadline."""
        part = self._part(PARTS[0])
        if method in ("cancel", "activate"):
            reply = await self._ask("POST", f"{self._path}/{method}")
        elif method == "DELETE":
            reply = await self._ask("DELETE", f"{self._path}/reward?{urlencode(part)}")
        else:
            reply = await self._ask(method, f"{self._path}/reward", {"reward": 5, **part})
        # What is over is over: to say so again is no error.
        is_over = method == ("cancel" if self._made.status == "void" else "activate")
        self._expect(reply, 200 if is_over else 409)
        self._compare(reply)

    async def _changed(self, reply: Reply) -> bool:
        """Whether a change was made. One of a held reward is refused when its decision is void by then, but may have
        been made before by a request whose answer was lost: the number of outcomes tells."""
        if self._expect(reply, 200, *((409,) if self._made.status == "deferred" else ())) == 200:
            return True
        shown = await self._ask("GET", self._path)
        self._expect(shown, 200)
        return bool(shown.body["n"] == self._made.n + 2)

    def _learned(self, reply: Reply, value: float, name: str) -> None:
        """A first reward: the default may have been booked before it, which only the number of outcomes tells.

        Of a decision that waits to be shown the window ends after it: `_compare` notices that.
        """
        if reply.body["n"] == self._made.n + 2 and self._made.status != "deferred":
            self._made.close()
        self._made.tell(value, name)

    def _compare(self, reply: Reply) -> None:
        """Whether the answer tells what must stand; a window that is over is noticed here."""
        made, told = self._made, reply.body
        if told["status"] in ("void", "defaulted"):
            made.close()
        reward = made.standing if made.status == "deferred" else made.reward
        here = (made.status, reward, *((made.n,) if reply.status == 200 else ()))
        there = (told["status"], *((told["reward"], told["n"]) if reply.status == 200 else (told["recorded"],)))
        if here != there:
            self._surprise(f"{there} where {here} must stand")

    def _part(self, name: str) -> dict[str, str]:
        return {"part": name} if self._made.loop.adds_up else {}

    def _value(self) -> float:
        return self._draw.randrange(-8, 9) / 8

    def _expect(self, reply: Reply, *statuses: int) -> int:
        if reply.status not in statuses:
            self._surprise(f"{reply.status} {str(reply.body)[:160]}")
        return reply.status

    def _surprise(self, what: str) -> None:
        self._book.surprises[f"{what} ({self._loop})"] += 1
        raise SurprisedError
