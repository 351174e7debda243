"""The command `policies`: what the policy file means, and what it does to models that exist."""

import argparse
import asyncio
import time
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Final

import msgspec
from rich.console import RenderableType

from app.bandit.policy import Policy
from app.catalog_file import read_catalog
from app.commands.policies_picture import duration, picture
from app.learning.prune import Pair, Pruner
from app.policies.catalog import Catalog, built_in_text
from app.settings import Settings
from app.terminal import (
    EMBEDDED,
    FAILED,
    PATIENCE,
    USAGE,
    complain,
    connected,
    progress_bar,
    say,
    wide_console,
)
from state import keys
from state.errors import CorruptState
from state.redis.servers import Servers
from state.shared import Shared
from state.sorter import Sorter
from state.store import Store
from state.transfer import Transfer

__all__ = ["changes", "show_policies", "unused"]

_DAY: Final = 86_400
_GRACE: Final = 3_600
# Users whose models are changed at once.
_TOGETHER: Final = 64
_Used = Mapping[Pair, int]


async def show_policies(arguments: argparse.Namespace, settings: Settings) -> int:
    """Print what the file means, or prune; the exit code."""
    if arguments.built_in:
        _say_all(built_in_text())
        return 0
    if arguments.policies:
        settings = msgspec.structs.replace(settings, policies=arguments.policies)
    catalog = read_catalog(settings)
    if arguments.loop and arguments.loop not in catalog.loops:
        return complain(f"--loop: there is no loop {arguments.loop!r}; there are {', '.join(catalog.loops)}", USAGE)
    if arguments.prune:
        async with connected(settings) as servers:
            return await _prune(servers, catalog, arguments, settings)
    told: dict[str, list[str]] = {}
    gone: list[str] = []
    if settings.redis_url.reveal() != EMBEDDED:
        async with connected(settings) as servers:
            shared = Shared(servers, timeout=PATIENCE)
            there = await shared.policies()
            gone = [name for name in there if name not in catalog.policies]
            for name, policy in catalog.policies.items():
                told[name] = changes(policy, await shared.last_used(name), known=name in there)
    loops, policies = catalog.loops, catalog.policies
    if arguments.loop:
        loops = {arguments.loop: loops[arguments.loop]}
        policies = {name: policies[name] for name in (each.champion for each in loops.values())}
        policies |= {name: catalog.policies[name] for each in loops.values() for name in each.shadows}
    _print(picture(policies, loops, {} if arguments.loop else catalog.features, told))
    for name in gone:
        say(f"{name}: not in the file; its models stay in Redis, and are erased with their users")
    return 0


def _print(drawn: RenderableType) -> None:
    console = wide_console()
    if console.is_terminal:
        console.print(drawn)
        return
    with console.capture() as lines:  # which rich fills up with spaces
        console.print(drawn)
    _say_all(lines.get())


def _say_all(text: str) -> None:
    for line in text.splitlines():
        say(line.rstrip())


def changes(policy: Policy, used: _Used, *, known: bool) -> list[str]:
    """What the file does to models of a policy, judged by when replicas last had which columns."""
    own = dict.fromkeys(zip(policy.labels, policy.definitions, strict=True))
    if not known or not used:
        return ["Redis knows no models of it"]
    last = max(used.values())
    labels = {label for label, _ in used}
    found = [
        ("added", [label for label, digest in own if (label, digest) not in used and label not in labels]),
        ("changed, learned anew", [label for label, digest in own if (label, digest) not in used and label in labels]),
        ("taken back", [label for label, digest in own if used.get((label, digest), last) < last]),
        ("dropped, kept in models", [pair[0] for pair in used if pair not in own]),
    ]
    told = [f"{what}: {', '.join(names)}" for what, names in found if names]
    return told or ["the columns are those that models have"]


def unused(policy: Policy, used: _Used, before: float) -> list[Pair]:
    """The columns that are not in the file and that no replica had since `before` (Unix seconds)."""
    own = set(zip(policy.labels, policy.definitions, strict=True))
    return [pair for pair, last in used.items() if pair not in own and last < before]


async def _prune(servers: Servers, catalog: Catalog, arguments: argparse.Namespace, settings: Settings) -> int:
    seconds = max((loop.window for loop in catalog.loops.values()), default=0) + _GRACE
    if arguments.older_than is not None:
        seconds = arguments.older_than * _DAY
    store = Store(
        servers,
        timeout=PATIENCE,
        history_size=settings.feature_history_size,
        marker_seconds=settings.idempotency_ttl_seconds,
    )
    doomed = {}
    for name, policy in catalog.policies.items():
        pairs = unused(policy, await store.shared.last_used(name), time.time() - seconds)
        if pairs and policy.classic is None:
            doomed[name] = pairs
            say(f"{name}: unused for {duration(seconds)}: {', '.join(label for label, _ in pairs)}")
    if not doomed:
        say(f"no policy has columns that were unused for {duration(seconds)}")
        return 0
    pruner = Pruner(store, catalog.policies, doomed)
    changed, problems = await _prune_all(servers, pruner, await store.shared.policies(), dry_run=arguments.dry_run)
    for problem in problems:
        complain(f"left out: {problem}")
    if not problems and not arguments.dry_run:
        for name, pairs in doomed.items():
            await store.shared.forget_used(name, pairs)
    say(f"{'would be ' if arguments.dry_run else ''}pruned: {changed:,} models; left out: {len(problems):,}")
    return FAILED if problems else 0


async def _prune_all(
    servers: Servers, pruner: Pruner, policies: Sequence[str], *, dry_run: bool
) -> tuple[int, list[str]]:
    """How many models were changed, and what was wrong with those that were left out."""
    transfer = Transfer(servers, patience=PATIENCE)
    changed, problems = 0, []
    with Sorter() as sorter, progress_bar() as progress:
        task = progress.add_task("prune: look for users", total=await transfer.count())
        async for count, _ in transfer.list_all(sorter, keys.fixed(policies)):
            progress.advance(task, count)
        progress.reset(task, description="prune", total=sorter.count())
        users = (user for user, _ in sorter)
        while some := list(islice(users, _TOGETHER)):
            work = (pruner.prune(user, dry_run=dry_run) for user in some)
            for done in await asyncio.gather(*work, return_exceptions=True):
                if isinstance(done, CorruptState):
                    problems.append(str(done))
                elif isinstance(done, BaseException):
                    raise done
                else:
                    changed += done
            progress.advance(task, len(some))
    return changed, problems
