"""What the log must tell: every line once or more, none missing, and each model to the last bit."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

import msgspec

from app.analysis.verify import verified
from app.decision_log.lines import Decision, Line, State
from app.decision_log.publish import Publisher
from app.log_reading.reading import lines
from app.log_reading.rebuild import FIRST
from app.log_reading.verify import Verdict
from app.messages.decision_ids import decision_id
from state.errors import StoreUnavailable
from state.redis.connect import open_servers
from state.store import Store
from tests.support.told import Made
from tests.support.waiting import PATIENCE_SECONDS
from tests.system.chaos.log.places import LogPlace

__all__ = ["Told", "judge_lines", "judge_users", "told"]

# More than all that a run leaves.
_BACKLOG = 10**12


class Told(msgspec.Struct):
    """What was counted in the log in `place`: lines, how often one was written `again`, how many are missing, how many
    the services had `left` in Redis and for how long (seconds), and of how many `users` the models agree; and what is
    wrong."""

    place: str
    lines: int = 0
    again: int = 0
    missing: int = 0
    users: int = 0
    agree: int = 0
    left: int = 0
    seconds: float = 0.0
    findings: list[str] = msgspec.field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"the log in {self.place}: {self.lines:,} lines, {self.again:,} written again, {self.missing:,} missing, "
            f"{self.left:,} left in Redis for up to {self.seconds:.0f} s; {self.agree} of {self.users} users agree"
        )


def told(url: str, place: LogPlace, decisions: Iterable[Made], users: Sequence[str]) -> Told:
    """Publish what is left in the Redis at `url`, where nothing changes any more, and judge the log in `place`: it must
    have these `decisions` and agree with the models of all these `users`."""
    return asyncio.run(_told(url, place, decisions, users))


async def _told(url: str, place: LogPlace, decisions: Iterable[Made], users: Sequence[str]) -> Told:
    servers = open_servers(url, size=16, timeout=PATIENCE_SECONDS)
    store = Store(servers, timeout=PATIENCE_SECONDS, history_size=1, marker_seconds=60)
    observer = _Left()
    try:
        publisher = Publisher(store.outbox, place.open(), _BACKLOG, observer)
        since = [size.since for size in (await store.outbox.size()).values() if size.since is not None]
        seconds = (await store.outbox.now() - min(since)) / 1_000 if since else 0.0
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await store.outbox.size():
                with suppress(StoreUnavailable):
                    await publisher.look(old_ms=-60_000)
        await publisher.stop(PATIENCE_SECONDS)
        directory = await place.copied()
        damaged: list[str] = []
        found = Told(place.what, left=observer.lines, seconds=seconds)
        judge_lines(lines(directory, damaged.append), decisions, found)
        judge_users(await verified(servers, directory, damaged.append, PATIENCE_SECONDS), users, found)
    finally:
        await store.close()
    found.findings += [f"the log: {what}" for what in dict.fromkeys(damaged)]
    return found


class _Left:
    """Counts what is published."""

    lines = 0

    def published(self, lines: int) -> None:
        self.lines += lines

    def lines_lost(self, lines: int) -> None:
        raise AssertionError(f"{lines} lines were dropped")

    def backlog(self, used: int, most: int) -> None:
        """Whatever waits may wait."""


def judge_lines(found: Iterable[Line], decisions: Iterable[Made], verdict: Told) -> None:
    """Count lines, which may be there again but not otherwise, and look for these `decisions`, which were answered."""
    seen: dict[tuple[str, str], dict[int, Line]] = {}
    for line in found:
        verdict.lines += 1
        if not line.user:  # it belongs to no user
            continue
        of_epoch = seen.setdefault((line.user, line.epoch), {})
        first = of_epoch.setdefault(line.seq, line)
        if first is line:
            continue
        verdict.again += 1
        if first != line:
            verdict.findings.append(f"line {line.seq} of {line.user}, epoch {line.epoch}, is there in two versions")
    for (user, epoch), of_epoch in seen.items():
        missing = sorted(set(range(_begin(of_epoch), max(of_epoch) + 1)) - of_epoch.keys())
        verdict.missing += len(missing)
        verdict.findings += [f"line {seq} of {user}, epoch {epoch}, is missing" for seq in missing[:5]]
    decided = {each.id for of_epoch in seen.values() for each in of_epoch.values() if isinstance(each, Decision)}
    verdict.findings += [
        f"decision {made.local} of {made.user} was answered and is not in the log"
        for made in decisions
        if decision_id(made.local, made.user) not in decided
    ]


def _begin(of_epoch: Mapping[int, Line]) -> int:
    """The first line that must be there: where models were there before, as after a restore, the one that has them."""
    first = of_epoch[min(of_epoch)]
    return first.seq if isinstance(first, State) and first.what == "begun" else FIRST


def judge_users(found: Iterable[Verdict], users: Sequence[str], verdict: Told) -> None:
    """Each of `users` must be in the log, and whoever is must agree."""
    by_user = {one.user: one for one in found}
    verdict.users = len(by_user.keys() | set(users))
    verdict.agree = sum(one.what == "agrees" for one in by_user.values())
    verdict.findings += [
        f"{one.user}: the log says {one.what}: {'; '.join(one.why)}" for one in by_user.values() if one.what != "agrees"
    ]
    verdict.findings += [f"{user} is not in the log" for user in users if user not in by_user]
