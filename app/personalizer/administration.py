"""What administrators of Azure Personalizer change and ask: configurations, and the model."""

from collections.abc import Mapping

from msgspec.structs import replace

from app.messages.personalizer import PolicyConfiguration, ServiceChange, ServiceConfiguration
from app.personalizer.configuration import Configuration, changed, shown
from app.personalizer.following import Followed
from app.policies.plan import Plan

__all__ = ["Administration"]


class Administration:
    """Reads and changes the configuration that this replica has `followed`; `loop` is one of `plans`.

    All methods raise the store's errors.
    """

    def __init__(self, followed: Followed, plans: Mapping[str, Plan], *, loop: str) -> None:
        self._followed = followed
        self._plans = plans
        self._loop = loop

    async def service(self) -> ServiceConfiguration:
        """How the application learns."""
        return shown(await self._followed.refresh())

    async def change_service(self, wanted: ServiceChange) -> ServiceConfiguration:
        """How it learns after a change. Raises Refusal."""
        return shown(await self._followed.change(lambda before, now: changed(before, wanted, now)))

    async def policy(self) -> PolicyConfiguration:
        """The learning settings that were kept, or a stand-in for those in force."""
        return self._policy(await self._followed.refresh())

    async def change_policy(self, wanted: PolicyConfiguration | None) -> PolicyConfiguration:
        """Keep other learning settings, or none: they are shown, and change nothing."""
        after = await self._followed.change(lambda before, now: replace(before, policy=wanted, edited=now))
        return self._policy(after)

    def _policy(self, found: Configuration) -> PolicyConfiguration:
        if found.policy is not None:
            return found.policy
        champion = self._plans[self._loop].policies[0].id
        return PolicyConfiguration(name=champion, arguments=f"--cb_explore_adf --epsilon {found.exploration:g}")
