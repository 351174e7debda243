"""The use-cases, made of the store, the settings and the policies that serve."""

import random
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from app.catalog_file import PERSONALIZER
from app.console.choices.preview import Preview
from app.console.pages import Sources
from app.decisions.asked import Asked
from app.decisions.decide import Decider
from app.decisions.make import Maker
from app.decisions.outcome import Outcomes
from app.decisions.reward import Learner
from app.decisions.settle import Settler
from app.decisions.twice import Twice
from app.decisions.users import Users
from app.experiments.change import Changer
from app.experiments.following import Following
from app.experiments.watching import Watching
from app.learning.models import Models
from app.learning.priors import Priors
from app.ledger.rules import Rules
from app.messages.decisions import DecisionRequest
from app.messages.health import HealthAnswer
from app.observe.metrics import Metrics
from app.personalizer.administration import Administration
from app.personalizer.application import Application
from app.personalizer.following import Followed
from app.personalizer.model import Keeper
from app.policies.plan import Plans
from app.publishing import is_logged
from app.serving import Serving
from app.settings import Settings
from state.store import Store

__all__ = ["Cases", "made_cases"]


class Cases(NamedTuple):
    """The use-cases, and what they share."""

    rules: Rules
    models: Models
    priors: Priors
    following: Following
    watching: Watching
    decider: Decider
    learner: Learner
    maker: Maker
    outcomes: Outcomes
    preview: Preview
    users: Users
    changer: Changer
    settler: Settler
    followed: Followed
    application: Application
    administration: Administration
    keeper: Keeper

    def sources(
        self,
        seen: Callable[[], Awaitable[HealthAnswer]],
        asked_of: Callable[[DecisionRequest], Asked],
        give_way: Callable[[], Awaitable[None]],
    ) -> Sources:
        """What the console's pages show."""
        return Sources(
            plans=self.rules.plans,
            following=self.following,
            changer=self.changer,
            health_of=self.watching.health,
            seen=seen,
            users=self.users,
            outcomes=self.outcomes,
            preview=self.preview,
            asked_of=asked_of,
            give_way=give_way,
        )


def made_cases(
    settings: Settings,
    store: Store,
    rows: Serving,
    metrics: Metrics,
    *,
    clock: Callable[[], float],
    chance: random.Random | None,
) -> Cases:
    """The use-cases over `store`, by the policies in `rows`. Raises SettingsError."""
    models, priors = Models(store, rows), Priors(store.shared, rows)
    following = Following(store.loops, lambda: rows.catalog, metrics.loop_state)
    plans = Plans(lambda: rows.catalog, lambda: following.standings)
    grace = settings.decision_grace_seconds * 1_000
    rules = Rules(models, priors, rows, plans, grace, metrics, logs=is_logged(settings))
    twice = Twice()
    maker, outcomes = Maker(rules, chance=chance), Outcomes(rules, twice)
    users = Users(store, models, rows, priors, logs=rules.logs)
    followed = Followed(store.shared, settings.personalizer_app)
    return Cases(
        rules=rules,
        models=models,
        priors=priors,
        following=following,
        watching=Watching(store.loops, lambda: rows.catalog, metrics.loop_health),
        decider=Decider(rules, clock=clock, chance=chance),
        learner=Learner(rules, twice, clock=clock),
        maker=maker,
        outcomes=outcomes,
        preview=Preview(rules),
        users=users,
        changer=Changer(store.loops, following, logs=rules.logs),
        settler=Settler(rules, store),
        followed=followed,
        application=Application(maker, outcomes, followed, metrics, loop=PERSONALIZER),
        administration=Administration(followed, plans, loop=PERSONALIZER),
        keeper=Keeper(store, users, plans, loop=PERSONALIZER),
    )
