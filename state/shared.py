"""What all users share: the columns of models, which policies there are models of, the priors, and configurations."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from state import keys
from state.asking import Asker
from state.redis.exchange import Command
from state.redis.failure import Outage
from state.redis.servers import Servers
from state.values.columns import Columns

__all__ = ["Shared"]

_DAY: Final = 86_400


class Shared:
    """Reads and writes what all users share, behind `servers`; `timeout` (seconds) limits every call.

    All methods raise StoreUnavailable, and CorruptState for a key that holds something else.
    """

    def __init__(self, servers: Servers, *, timeout: float, outage: Outage | None = None) -> None:
        self._asker = Asker(servers, timeout=timeout, outage=outage or Outage())

    async def columns(self, fingerprint: bytes) -> Columns | None:
        """The columns with this fingerprint; None if they are not known."""
        [text] = await self._asker.ask(keys.COLUMNS, ("HMGET", keys.COLUMNS, fingerprint))
        return None if text is None else Columns.decode(f"{keys.COLUMNS} {fingerprint.decode(errors='replace')}", text)

    async def all_columns(self) -> dict[bytes, Columns]:
        """All columns by fingerprint."""
        pairs = await self._all(keys.COLUMNS)
        return {name: Columns.decode(f"{keys.COLUMNS} {name.decode(errors='replace')}", text) for name, text in pairs}

    async def publish(self, columns: Columns) -> None:
        """Make columns known, before a model names them."""
        await self._asker.ask(keys.COLUMNS, ("HSET", keys.COLUMNS, columns.fingerprint, columns.encode()))

    async def note_used(self, used: Mapping[str, Columns], now: int) -> None:
        """Note that at `now` (Unix seconds) a replica has these columns in these policies."""
        day = now // _DAY
        for policy, columns in used.items():
            words = [word for label, digest in columns.pairs for word in (f"{policy}\n{label}\n{digest}", day)]
            await self._asker.ask(keys.USED, ("HSET", keys.USED, *words))

    async def last_used(self, policy: str) -> dict[tuple[str, str], int]:
        """The last moment (Unix seconds, to the end of the day) at which a replica had a column in this policy."""
        used: dict[tuple[str, str], int] = {}
        for name, day in await self._all(keys.USED):
            owner, _, rest = name.decode(errors="replace").partition("\n")
            label, _, digest = rest.rpartition("\n")
            if owner == policy and day.isdigit():
                used[label, digest] = (int(day) + 1) * _DAY
        return used

    async def forget_used(self, policy: str, pairs: Iterable[tuple[str, str]]) -> None:
        """Forget when these columns, each a label and a digest, were last used in a policy: no model has them."""
        names = [f"{policy}\n{label}\n{digest}" for label, digest in pairs]
        if names:
            await self._asker.ask(keys.USED, ("HDEL", keys.USED, *names))

    async def note_policies(self, ids: Iterable[str]) -> None:
        """Note that there may be models of these policies."""
        await self._asker.ask(keys.POLICIES, ("SADD", keys.POLICIES, *ids))

    async def policies(self) -> list[str]:
        """Every policy that there may be models of, sorted."""
        found: Iterable[bytes] = await self._asker.ask(keys.POLICIES, ("SMEMBERS", keys.POLICIES))
        return sorted(each.decode(errors="replace") for each in found)

    async def note_idle(self, days: int) -> bool:
        """Note that users expire after so many days; with 0, whether they ever did."""
        if days:
            await self._asker.ask(keys.IDLE, ("SET", keys.IDLE, days))
            return False
        return await self._asker.ask(keys.IDLE, ("GET", keys.IDLE)) is not None

    async def console_secret(self, fresh: bytes) -> bytes:
        """The secret of the console's sessions; if there is none yet, it is `fresh` from now on."""
        found: bytes | None = await self._asker.ask(keys.CONSOLE, ("GET", keys.CONSOLE))
        if found is None:
            await self._asker.ask(keys.CONSOLE, ("SET", keys.CONSOLE, fresh, "NX"))
            found = await self._asker.ask(keys.CONSOLE, ("GET", keys.CONSOLE))
        return found or fresh

    async def priors(self) -> dict[str, bytes]:
        """What `write_prior` wrote, by policy."""
        return {name.decode(errors="replace"): text for name, text in await self._all(keys.PRIORS)}

    async def write_prior(self, policy: str, make: Callable[[bytes | None], bytes | None]) -> None:
        """Replace the prior of a policy by what `make` makes of the one there is; None leaves it.

        If another writer comes first, `make` is called again with what that one wrote.
        """
        await self._asker.replace(keys.PRIORS, policy, make)

    async def configuration(self, app: str) -> bytes | None:
        """What `change_configuration` wrote for an application of Azure Personalizer's clients."""
        [text] = await self._asker.ask(keys.PERSONALIZER, ("HMGET", keys.PERSONALIZER, app))
        found: bytes | None = text
        return found

    async def change_configuration(self, app: str, make: Callable[[bytes | None, int], bytes | None]) -> None:
        """Replace the configuration of an application by what `make` makes of the one there is and of Redis's clock
        (ms); None leaves it.

        If another writer comes first, `make` is called again with what that one wrote.
        """

        def commands(found: Sequence[bytes | None], now: int) -> list[Command]:
            text = make(found[0], now)
            return [] if text is None else [("HSET", keys.PERSONALIZER, app, text)]

        await self._asker.change(keys.PERSONALIZER, (app,), commands)

    async def _all(self, key: str) -> list[tuple[bytes, bytes]]:
        found: Mapping[bytes, bytes] | Sequence[bytes] = await self._asker.ask(key, ("HGETALL", key))
        if isinstance(found, Mapping):  # as fakeredis answers
            return list(found.items())
        return list(zip(found[::2], found[1::2], strict=True))
