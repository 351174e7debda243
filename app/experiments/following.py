"""The states of loops as they were when Redis was last read, which is about each second."""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from typing import Final

from app.policies.catalog import Catalog
from app.policies.plan import stage_of
from state import keys
from state.errors import CorruptState, StoreUnavailable
from state.loops import Loops
from state.values import loop as values
from state.values.loop import Canary, Stage, Standing

__all__ = ["Following", "told"]

_log: Final = logging.getLogger("oo.loops")
_SECONDS: Final = 1.0
_jitter: Final = random.Random()  # noqa: S311  # replicas do not all come at once


class Following:
    """The states in `loops` of the loops that `catalog` has. `entered` is told of each one that is taken over.

    Each change makes a new mapping `standings`, so that code which keeps results made from it notices. A state that
    cannot be read changes nothing.
    """

    def __init__(
        self,
        loops: Loops,
        catalog: Callable[[], Catalog],
        entered: Callable[[str, int, Canary | None], None] = lambda *_: None,
    ) -> None:
        self._loops = loops
        self._catalog = catalog
        self._entered = entered
        self.standings: Mapping[str, Standing] = {}
        # Whether all loops were read at least once: before that, it is not known who should serve.
        self.began = False
        self._texts: dict[str, bytes] = {}
        self._problems: dict[str, str] = {}

    @property
    def problem(self) -> str | None:
        """Why loops are not served as Redis says; None if they are."""
        return "; ".join(self._problems.values()) or None

    def number(self, loop: str) -> int:
        """The state of a loop, whatever this replica can serve; 0: the policy file decides."""
        standing = self.standings.get(loop)
        return 0 if standing is None else standing.number

    async def keep(self) -> None:
        """Read about each second. No failure ends this."""
        while True:
            try:
                await self.refresh()
            except Exception:  # noqa: BLE001  # whatever it is, decisions go on
                _log.exception("cannot read who serves the loops")
            await asyncio.sleep(_jitter.uniform(0.8, 1.2) * _SECONDS)

    async def refresh(self) -> None:
        """Take over what has changed in Redis, and log it."""
        loops, policies = self._catalog().loops, self._catalog().policies
        try:
            found = await self._loops.states(loops)
        except (StoreUnavailable, CorruptState) as error:
            self._say({"": f"who serves the loops cannot be read: {error}; they stay as they are"})
            return
        problems: dict[str, str] = {}
        changed = {name: standing for name, standing in self.standings.items() if name in found}
        for name, text in found.items():
            if text != self._texts.get(name):
                try:
                    changed[name] = values.decode(f"{keys.LOOPS} {name}", text)
                except CorruptState as error:
                    problems[name] = f"{error}; the loop stays as it is"
                    continue
                self._texts[name] = text
        self._take(changed)
        for name, standing in self.standings.items():
            stage = stage_of(loops[name], standing, policies)
            if stage is not standing.now:
                lacks = f"loop {name}: the policy file lacks what state {standing.number} names ({told(standing.now)})"
                problems.setdefault(name, f"{lacks}: it serves state {stage.number} ({told(stage)})")
        self._say(problems)
        self.began = self.began or not problems.keys() - changed.keys()

    def _take(self, changed: dict[str, Standing]) -> None:
        before = self.standings
        if changed == before:
            return
        self.standings = changed
        for name in before.keys() - changed.keys():
            del self._texts[name]
            self._entered(name, 0, None)
            if name in self._catalog().loops:
                _log.warning("loop %s: its state is gone from Redis: the policy file says who serves", name)
        for name, standing in changed.items():
            if standing != before.get(name):
                self._entered(name, standing.number, standing.now.canary)
                _log.info("loop %s: state %d: %s", name, standing.number, told(standing.now))

    def _say(self, problems: dict[str, str]) -> None:
        """Log what is new."""
        for name, problem in problems.items():
            if self._problems.get(name) != problem:
                _log.warning("%s", problem)
        if self._problems and not problems:
            _log.info("the loops are served as Redis says")
        self._problems = problems


def told(stage: Stage) -> str:
    """Who serves, in a few words."""
    canary = stage.canary
    beside = "" if canary is None else f", canary {canary.policy} for {canary.share:.3g} of the decisions"
    return f"champion {stage.champion}{beside}"
