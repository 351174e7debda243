"""The configuration of this application as it was when Redis was last read, which is about each second."""

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Final

from app.personalizer.configuration import Configuration, decode, encode
from state import keys
from state.errors import CorruptState, StoreUnavailable
from state.shared import Shared

__all__ = ["Followed"]

_log: Final = logging.getLogger("oo.personalizer")
_SECONDS: Final = 1.0
_jitter: Final = random.Random()  # noqa: S311  # replicas do not all come at once


class Followed:
    """The configuration of the application `app`, which all replicas share through `shared`."""

    def __init__(self, shared: Shared, app: str) -> None:
        self._shared = shared
        self._app = app
        self._now: Configuration | None = None
        self._problem = ""

    async def keep(self) -> None:
        """Read about each second. No failure ends this: the configuration stays as it is."""
        while True:
            try:
                await self.refresh()
                self._say("")
            except (StoreUnavailable, CorruptState) as error:
                self._say(f"the configuration cannot be read: {error}; it stays as it is")
            except Exception:  # noqa: BLE001  # whatever it is, decisions go on
                _log.exception("cannot read the configuration")
            await asyncio.sleep(_jitter.uniform(0.8, 1.2) * _SECONDS)

    async def current(self) -> Configuration:
        """The configuration that holds now. Raises the store's errors if it was never read."""
        return self._now or await self.refresh()

    async def refresh(self) -> Configuration:
        """Take over what is in Redis. Raises StoreUnavailable and CorruptState."""
        found = self._decoded(await self._shared.configuration(self._app))
        if self._now is not None and found != self._now:
            _log.info("the configuration of Personalizer's clients has changed: %s", found.mode)
        self._now = found
        return found

    async def change(self, make: Callable[[Configuration, int], Configuration]) -> Configuration:
        """Change it, for all replicas, to what `make` makes of it and of Redis's clock (ms).

        If another writer comes first, `make` is called again with what that one wrote. Raises what `make` raises and
        the store's errors.
        """
        await self._shared.change_configuration(self._app, lambda text, now: encode(make(self._decoded(text), now)))
        return await self.refresh()

    def _decoded(self, text: bytes | None) -> Configuration:
        return decode(f"{keys.PERSONALIZER} {self._app}", text)

    def _say(self, problem: str) -> None:
        """Log what is new."""
        if problem != self._problem:
            _log.log(logging.WARNING if problem else logging.INFO, "%s", problem or "the configuration is read again")
        self._problem = problem
