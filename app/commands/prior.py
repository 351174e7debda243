"""The command `prior`: what many users of a policy say about one who is new."""

import argparse
import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Final

import msgspec
import numpy as np
from rich.console import Group
from rich.progress import Progress
from rich.text import Text

from app.bandit.policy import Policy
from app.bandit.prior import FEWEST, fit
from app.bandit.ridge import Matrix, Vector
from app.catalog_file import read_catalog
from app.commands.show import chart
from app.learning.models import Model, Models
from app.settings import Settings
from app.terminal import FAILED, PATIENCE, USAGE, complain, connected, progress_bar, say, wide_console
from state import keys
from state.errors import CorruptState
from state.redis.servers import Servers
from state.sampling import Sample
from state.store import Store
from state.transfer import Transfer
from state.values import prior, record
from state.values.columns import Columns
from state.values.prior import PriorRecord
from state.values.record import Meta

__all__ = ["build_priors"]

_REWARDS: Final = 5
_MOST: Final = 1_000
# Numbers in the matrices of all users: 256 MB. So with more than 181 columns there are fewer users.
_ROOM: Final = 2**25
_TOGETHER: Final = 32


class _Users(msgspec.Struct):
    """The models that a prior is fitted to, the keys of those that are left out, and how many were seen."""

    s: np.ndarray[tuple[int, int, int], np.dtype[np.float64]]
    b: Matrix
    weights: Vector
    squares: Vector
    seen: int
    odd: list[str]


class _Built(msgspec.Struct):
    """What was fitted: A0, b0, the standard deviation of the noise, and how many users there were."""

    a0: Matrix
    b0: Vector
    sigma: float | None
    users: int


async def build_priors(arguments: argparse.Namespace, settings: Settings) -> int:
    """Fit the priors of policies to what Redis has and write them; the exit code."""
    rows = {name: policy for name, policy in read_catalog(settings).policies.items() if policy.population}
    for name in arguments.policy:
        if name not in rows:
            known = ", ".join(rows) or "none"
            return complain(f'{name}: no policy of this name has prior = "population"; there are: {known}', USAGE)
    if not rows:
        say('no policy has prior = "population"')
    code = 0
    async with connected(settings) as servers:
        store = Store(servers, timeout=PATIENCE, history_size=1, marker_seconds=1)
        for name in dict.fromkeys(arguments.policy or rows):
            with progress_bar() as progress:
                users = await _users(rows[name], servers, Models(store, rows), progress)
            for problem in users.odd:
                code = complain(f"left out: {problem}")
            built = _built(rows[name], users)
            if built.sigma is None and built.users >= FEWEST:
                code = FAILED
            version = await _write(store, rows[name], built, dry_run=arguments.dry_run)
            _tell(rows[name], users.seen, built, version, dry_run=arguments.dry_run)
    return code


def _fits(meta: Meta) -> bool:
    return meta.reward_count >= _REWARDS and bool(meta.weight)


async def _users(policy: Policy, servers: Servers, models: Models, progress: Progress) -> _Users:
    """The models of a sample of the users; memory is bounded by the size of the sample."""
    d = policy.d
    sample = Sample(policy.id, min(_MOST, _ROOM // (d * d)), _fits)
    task = progress.add_task(f"{policy.id}: look for users", total=await Transfer(servers, patience=PATIENCE).count())
    async for count in sample.draw(servers, patience=PATIENCE):
        progress.advance(task, count)
    taken = sample.users
    progress.reset(task, description=f"{policy.id}: read models", total=len(taken))
    n = len(taken)
    users = _Users(np.empty((n, d, d)), np.empty((n, d)), np.empty(n), np.empty(n), sample.seen, [])
    kept = 0
    async for found in _models(policy, models, taken):
        progress.advance(task)
        if isinstance(found, CorruptState):
            users.odd.append(str(found))
        elif _fits(found.meta):  # unless it was reset meanwhile
            users.s[kept], users.b[kept] = found.a - np.eye(d), found.b
            users.weights[kept], users.squares[kept] = found.meta.weight or 0.0, found.meta.squares
            kept += 1
    return _Users(users.s[:kept], users.b[:kept], users.weights[:kept], users.squares[:kept], users.seen, users.odd)


async def _models(policy: Policy, models: Models, users: Sequence[str]) -> AsyncIterator[Model | CorruptState]:
    async def read(user: str) -> Model | CorruptState:
        try:
            model = await models.read(policy, user)
        except CorruptState as error:
            return error
        problem = record.flaw(model.stored) if model.stored else None
        return CorruptState(keys.record(user, policy.id), problem) if problem else model

    for start in range(0, len(users), _TOGETHER):
        for found in await asyncio.gather(*map(read, users[start : start + _TOGETHER])):
            yield found


def _built(policy: Policy, users: _Users) -> _Built:
    count = len(users.b)
    if count >= FEWEST:
        try:
            a0, b0, variance = fit(users.s, users.b, users.weights, users.squares)
        except ValueError as error:
            complain(f"{policy.id}: there is no prior: {error}")
        else:
            return _Built(a0, b0, variance**0.5, count)
    # An empty prior replaces one from users who are gone.
    return _Built(*policy.prior(), None, count)


async def _write(store: Store, policy: Policy, built: _Built, *, dry_run: bool) -> int:
    """Write the prior, unless it says nothing and there is none before it; its version, or 0."""
    version = 0
    now = int(time.time())
    columns = Columns(tuple(zip(policy.labels, policy.definitions, strict=True)))

    def make(old: bytes | None) -> bytes | None:
        nonlocal version
        # The version after the one that is there now: another rebuild may have been faster.
        version = prior.version_of(old) + 1 if built.sigma is not None or old is not None else 0
        if dry_run or not version:
            return None
        return prior.encode(PriorRecord(version, now, built.users, columns, built.a0, built.b0))

    await store.shared.write_prior(policy.id, make)
    return version


def _tell(policy: Policy, seen: int, built: _Built, version: int, *, dry_run: bool) -> None:
    if built.sigma is None:
        few = f"fewer than {FEWEST} have {_REWARDS} rewards" if built.users < FEWEST else "they say nothing"
        say(f"{policy.id}: {seen:,} users seen, {built.users:,} taken: {few}, so new users start from nothing")
        return
    of = f"would be version {version}" if dry_run else f"version {version}"
    console = wide_console()
    console.print(
        Group(
            Text(policy.id, "bold"),
            f"  {seen:,} users seen, {built.users:,} taken, noise ±{built.sigma:.3g}, {of}; a new user starts with",
            chart(policy.labels, policy.estimate(built.a0, built.b0)),
        )
    )
