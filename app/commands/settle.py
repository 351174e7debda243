"""The command `settle`: book what is due for users who do not return."""

import argparse
from typing import Final

from app.catalog_file import read_catalog
from app.decisions.settle import Settler
from app.ledger.rules import Rules
from app.publishing import is_logged
from app.settings import Settings
from app.terminal import FAILED, PATIENCE, complain, connected, progress_bar, say
from state.store import Store
from state.update.idle import Idle

__all__ = ["settle_users"]

_HISTORY: Final = 1  # settling writes no history


async def settle_users(arguments: argparse.Namespace, settings: Settings) -> int:
    """Settle the users who are due; the exit code."""
    known = read_catalog(settings)
    async with connected(settings) as servers:
        store = Store(
            servers,
            timeout=PATIENCE,
            history_size=_HISTORY,
            marker_seconds=settings.idempotency_ttl_seconds,
            idle=Idle(settings.idle_user_days, known.policies),
        )
        store.idle.policies |= dict.fromkeys(await store.shared.policies())
        rules = Rules.of(store, known, settings.decision_grace_seconds * 1_000, logs=is_logged(settings))
        settler = Settler(rules, store)
        by, waiting = await settler.waiting()
        with progress_bar() as progress:
            task = progress.add_task("settle", total=waiting)
            done = await settler.all(by if arguments.once else None, lambda count: progress.advance(task, count))
    for problem in done.failed:
        complain(f"left for an hour: {problem}")
    say(f"settled: {done.decisions:,} decisions in {done.users:,} looks at users; left: {len(done.failed):,} users")
    return FAILED if done.failed else 0
