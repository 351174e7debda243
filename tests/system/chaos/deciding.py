"""What becomes of one decision: which things a client tells of it, and in which order."""

from collections.abc import Awaitable, Callable

from tests.system.chaos.telling import PARTS, SurprisedError, Telling

__all__ = ["Talk"]


class Talk(Telling):
    """`begin` decides and tells what is told in time; `end` is to be called after `later` seconds, unless that is
    None."""

    later: float | None = None

    async def begin(self) -> None:
        """Decide, and tell what is told in time."""
        self._book.unfinished.add(self._name)
        await self._carefully(self._begin)
        if self.later is None:
            self._book.unfinished.discard(self._name)

    async def end(self) -> None:
        """After the window: tell what comes late."""
        await self._carefully(self._late)
        self._book.unfinished.discard(self._name)

    async def _carefully(self, act: Callable[[], Awaitable[None]]) -> None:
        try:
            await act()
        except SurprisedError:
            self.later = None

    async def _begin(self) -> None:
        draw, made = self._draw, self._made
        await self._decide(defer=draw.random() < 0.25)
        if made.status == "deferred":
            if draw.random() < 0.4:
                await self._reward()
                # Its time may be over by now, and what is void is not corrected.
                if made.parts and not made.is_void and draw.random() < 0.3:
                    await draw.choice([self._correct, self._retract])()
            await draw.choice([self._activate, self._activate, self._cancel, self._nothing])()
        elif draw.random() < 0.1:
            await self._cancel()
        if made.status == "open" and draw.random() < 0.6:
            await self._reward()
        if made.status in ("rewarded", "retracted"):
            for _ in range(draw.randrange(4)):
                await draw.choice([self._again, self._contradict, self._correct, self._correct, self._retract])()
        elif made.status in ("open", "deferred") and made.loop.default is not None and draw.random() < 0.7:
            self.later = made.loop.seconds

    async def _late(self) -> None:
        """What comes after the deadline for sure, where a default was booked or nothing was shown."""
        made, draw = self._made, self._draw
        made.close()
        method = draw.choice(["POST", "POST", "PUT", "DELETE", "cancel", "activate"])
        if made.status == "void" or method in ("DELETE", "cancel", "activate"):
            await self._refused(method)
            return
        value, name = self._value(), draw.choice(PARTS) if made.loop.adds_up else ""
        said = {"reward": value, **self._part(name)} | ({"if_n": made.n} if method == "PUT" else {})
        reply = await self._ask(method, f"{self._path}/reward", said)
        self._expect(reply, 200)
        if made.loop.discards != (reply.body["outcome"] == "late"):
            self._surprise(f"{reply.body['outcome']} after the deadline")
        if not made.loop.discards:
            made.tell(value, name)
            self._first = name, value
        self._book.told["late"] += 1
        self._compare(reply)
        if made.parts and not made.is_void and draw.random() < 0.5:
            await draw.choice([self._again, self._correct, self._retract])()
