"""The population priors of the policies that take one, as they were when Redis was last asked."""

import logging
from collections.abc import Mapping
from typing import Final

from app.bandit.policy import Policy
from app.bandit.prior import FEWEST, Prior, aligned, effective
from app.bandit.ridge import Matrix, Vector
from state import keys
from state.errors import CorruptState, StoreUnavailable
from state.shared import Shared
from state.values import prior
from state.values.prior import PriorRecord

__all__ = ["Priors"]

_log: Final = logging.getLogger("oo")


class Priors:
    """The priors in `shared` of those `policies` that take one. Before the first `refresh` there are none."""

    def __init__(self, shared: Shared, policies: Mapping[str, Policy]) -> None:
        self._shared = shared
        self._policies = policies
        self._texts: dict[str, bytes | None] = {}
        self._priors: dict[str, Prior] = {}
        # What each adds to A and b of its policy, which another policy file may replace by one with other columns.
        self._starts: dict[str, tuple[Policy, Matrix, Vector]] = {}

    async def refresh(self) -> None:
        """Take over what has changed in Redis, and log it. What cannot be read changes nothing, nor does a Redis that
        is away."""
        policies = [policy for policy in self._policies.values() if policy.population]
        if not policies:
            return
        try:
            found = await self._shared.priors()
        except StoreUnavailable:
            return  # the store logs it
        except CorruptState as error:
            _log.warning("%s: no prior is read", error)
            return
        for policy in policies:
            text = found.get(policy.id)
            if text != self._texts.get(policy.id):
                self._texts[policy.id] = text
                self._take(policy, text)

    def effective(self, policy: Policy, a: Matrix, b: Vector) -> tuple[Matrix, Vector]:
        """A and b to decide by, of a user whose own are `a` and `b`: the same if the policy has no prior."""
        found = self._priors.get(policy.id) if policy.population else None
        if found is None:
            return a, b
        start = self._starts.get(policy.id)
        if start is None or start[0] is not policy:
            pairs = tuple(zip(policy.labels, policy.definitions, strict=True))
            start = self._starts[policy.id] = (policy, *aligned(found, pairs))
        return effective(a, b, *start[1:])

    def version(self, policy: Policy) -> int:
        """The version of the prior that `effective` adds; 0 for none."""
        found = self._priors.get(policy.id)
        return 0 if found is None else found.version

    def _take(self, policy: Policy, text: bytes | None) -> None:
        if text is None:
            self._drop(policy)
            _log.info("prior of %s: removed; new users start from nothing", policy.id)
            return
        try:
            record = prior.decode(f"{keys.PRIORS} {policy.id}", text)
        except CorruptState as error:
            _log.warning("%s: version %d stays in use", error, self.version(policy))
            return
        found = _prior(record)
        if not found.counts:
            self._drop(policy)
            few = "prior of %s: version %d is from %d users, fewer than %d: new users start from nothing"
            _log.info(few, policy.id, found.version, found.users, FEWEST)
            return
        self._starts.pop(policy.id, None)
        self._priors[policy.id] = found
        _log.info("prior of %s: version %d, from %d users", policy.id, found.version, found.users)

    def _drop(self, policy: Policy) -> None:
        self._priors.pop(policy.id, None)


def _prior(record: PriorRecord) -> Prior:
    return Prior(record.version, record.built_at, record.users, record.columns.pairs, record.a, record.b)
