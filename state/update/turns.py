"""Turns: replicas that change one user at once go one after the other, instead of computing what a race then undoes.

Nothing depends on them: whether a change is made is decided by what its transaction watches. So a turn that expires, or
that Redis cannot give, costs time and nothing else.
"""

import asyncio
import random
from collections import OrderedDict
from typing import Final

from state import keys
from state.redis.exchange import Command, exchange
from state.redis.failure import TROUBLE
from state.redis.servers import Servers

__all__ = ["KIND", "Turns"]

# The last part of the key of a turn: a string that expires, which serves transactions alone (`keys.is_passing`).
KIND: Final = "flight:turn"
# Seconds after the last race of a user for which turns are taken, and users whose races are remembered.
_LASTING: Final = 2.0
_REMEMBERED: Final = 1_024
# A turn whose replica does not end it, in ms, and seconds between two questions for one.
_LONGEST_MS: Final = 500
_PAUSES: Final = (0.001, 0.006)


class Turns:
    """The users behind `servers` over whom this replica has met others, and the turns that it takes with them."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        # The users, each with the time of the event loop until which turns are taken with others.
        self.raced: OrderedDict[str, float] = OrderedDict()
        self._random = random.Random()  # noqa: S311  # jitter

    def note(self, user_id: str) -> None:
        """Note that another replica changed a user at the same time."""
        self.raced.pop(user_id, None)
        self.raced[user_id] = asyncio.get_running_loop().time() + _LASTING
        if len(self.raced) > _REMEMBERED:
            self.raced.popitem(last=False)

    def wanted(self, user_id: str) -> bool:
        """Whether others may be changing a user too."""
        until = self.raced.get(user_id)
        if until is None:
            return False
        if until > asyncio.get_running_loop().time():
            return True
        del self.raced[user_id]
        return False

    async def take(self, user_id: str, until: float) -> bool:
        """Wait for a turn with a user, at most until a time of the event loop; False if there is none."""
        ask: Command = ("SET", keys.of(user_id, KIND), "", "NX", "PX", _LONGEST_MS)
        while asyncio.get_running_loop().time() < until:
            try:
                async with asyncio.timeout_at(until), self._servers.connection(keys.of(user_id, KIND)) as connection:
                    [given] = await exchange(connection, [ask])
            except TROUBLE:
                return False
            if isinstance(given, Exception):
                return False
            if given is not None:
                return True
            self.note(user_id)
            await asyncio.sleep(self._random.uniform(*_PAUSES))
        return False

    def end(self, user_id: str) -> Command:
        """The command that ends a turn; it may be a part of the transaction for which it was taken."""
        return "DEL", keys.of(user_id, KIND)
