"""The health of the loops as it was when Redis was last read, which is about twice a minute."""

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Final

from app.experiments.health import decode
from app.messages.pipeline import LoopHealth
from app.policies.catalog import Catalog
from state.errors import CorruptState, StoreUnavailable
from state.loops import Loops

__all__ = ["Watching"]

_log: Final = logging.getLogger("oo.loops")
_SECONDS: Final = 30.0
_jitter: Final = random.Random()  # noqa: S311  # replicas do not all come at once


class Watching:
    """What `judge` last wrote to `loops` of those that `catalog` has. `found` is told of each at each look.

    What cannot be read is as if it were not there.
    """

    def __init__(
        self,
        loops: Loops,
        catalog: Callable[[], Catalog],
        found: Callable[[str, LoopHealth], None] = lambda _, __: None,
    ) -> None:
        self._loops = loops
        self._catalog = catalog
        self._found = found
        self._healths: dict[str, LoopHealth] = {}
        self._texts: dict[str, bytes] = {}

    def health(self, loop: str) -> LoopHealth | None:
        """The health of a loop; None if `judge` has found none that can be read."""
        return self._healths.get(loop)

    async def keep(self) -> None:
        """Read about twice a minute. No failure ends this."""
        while True:
            try:
                await self.refresh()
            except StoreUnavailable:  # the store logs it
                pass
            except Exception:  # noqa: BLE001  # whatever it is, decisions go on
                _log.exception("cannot read the health of the loops")
            await asyncio.sleep(_jitter.uniform(0.8, 1.2) * _SECONDS)

    async def refresh(self) -> None:
        """Take over what is in Redis. Raises the store's errors."""
        texts = await self._loops.healths(self._catalog().loops)
        for name, text in texts.items():
            if text == self._texts.get(name):
                continue
            self._healths.pop(name, None)
            try:
                self._healths[name] = decode(name, text)
            except CorruptState as error:
                _log.warning("%s", error)
        self._healths = {name: health for name, health in self._healths.items() if name in texts}
        self._texts = texts
        for name, health in self._healths.items():
            self._found(name, health)
