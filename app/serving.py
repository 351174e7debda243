"""The policies that serve, which a signal may replace."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from app.bandit.policy import Policy
from app.policies.catalog import Catalog
from app.settings import SettingsError

__all__ = ["Serving"]

_log: Final = logging.getLogger("oo.policies")


class Serving(Mapping[str, Policy]):
    """The policies that serve now, by name; `catalog` has their features and loops too.

    `read` gives the catalog, and again each time that the file is to be read again. Raises what `read` raises.
    """

    def __init__(self, read: Callable[[], Catalog]) -> None:
        self._read = read
        self._serve(read())
        # Set whenever there is another catalog.
        self.changed = asyncio.Event()

    def __getitem__(self, name: str) -> Policy:
        return self.catalog.policies[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.catalog.policies)

    def __len__(self) -> int:
        return len(self.catalog.policies)

    def read_again(self) -> None:
        """Read the catalog again. If that fails, it stays as it is."""
        try:
            self._serve(self._read())
        except SettingsError as error:
            _log.error("%s; the policies stay as they are", error)
        else:
            self.changed.set()
            policies, loops = len(self.catalog.policies), len(self.catalog.loops)
            _log.warning("POLICIES read again: %d policies, %d loops", policies, loops)

    def _serve(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.get = catalog.policies.get  # type: ignore[method-assign]  # the inherited one takes four calls
