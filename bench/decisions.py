"""Decisions and rewards by id beside the floor and a score, and the bytes that a decision takes in Redis.

The users of a mode have the same models and so many open decisions: one user is brought there through the service, and
Redis copies its keys for the others. Where the load has changed them too much, they are copied again before a run.
"""

import json
import urllib.request
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, Final

import msgspec
import redis

from bench.measure import Load, Run, Target, again, measure
from bench.report import HEADER, Check, Section, failures, known, medians, spread
from bench.servers import kept_redis, serving, the_floor
from state import keys
from tests.support.redis_servers import RedisServer

__all__ = ["DecidedUsers", "Mode", "beside_floor", "decide", "reward"]

_TAUGHT: Final = 5  # rewarded decisions that each user's models have learned from
_AT_ONCE: Final = 250
_FASTEST: Final = 4_000  # decisions a second that one run is expected to make at most, roughly
_FASTEST_AT_ONCE: Final = 15_000  # and in batches


class Mode(msgspec.Struct, frozen=True):
    """A row: what wrk sends, and for decisions the open ones of each user, the number of users, by how many a user's
    may change before the users are copied anew, and the most that a request may cost, in units of the floor's processor
    time. The decisions are of `loop`, and a request has `at_once` of them."""

    work: str
    sends: str
    opened: int = 0
    users: int = 0
    drift: int = 0
    limit: float = 0.0
    loop: str = "tips"
    at_once: int = 1


# A user of the built-in loop has at most 256 open decisions: one more settles the oldest.
_MODES: Final = {
    "score": Mode("score, 10 candidates, d=5", "score"),
    "one": Mode("decision, 1 to 6 open", "decide", 1, 5_000, 5, 1.5),
    "some": Mode("decision, 32 to 48 open", "decide", 32, 1_000, 16, 1.5),
    "many": Mode("decision, 192 to 255 open", "decide", 192, 500, 63, 1.5),
    "full": Mode("decision, 256 open: the oldest is settled early", "decide", 256, 500, 128, 1.9),
    "reward": Mode("reward by id, 32 to 1 open", "outcome", 32, 2_000, 31, 1.4),
}
_OF_A_SCORE: Final = 3.5  # Redis's processor time
_FLAT: Final = 1.1  # what a decision costs with many open ones, in units of one with few


def _post(target: Target, path: str, body: Mapping[str, Any]) -> Any:
    asked = urllib.request.Request(target.url + path, json.dumps(body).encode(), method="POST")
    with urllib.request.urlopen(asked, timeout=60) as answer:
        return msgspec.json.decode(answer.read())


def _decision(user: str, local: str, step: int, loop: str) -> dict[str, Any]:
    """What load.lua sends, with an id."""
    candidates = [
        {
            "id": f"t{i}",
            "features": {
                "is_overdue": i % 3 == 0,
                "task_age_days": (i * 7 + step) % 31,
                "priority": (i + step) % 4 + 1,
            },
        }
        for i in range(1, 11)
    ]
    profile = {
        "completion_rate_30d": 0.4,
        "dismiss_rate_30d": 0.2,
        "mean_dwell_ms_30d": 42_000,
        "preferred_hour": 9,
        "tip_volume_30d": 31,
    }
    context = {"hour_of_day": step % 24, "day_of_week": step % 7}
    return {
        "user_id": user,
        "id": local,
        "loop": loop,
        "candidates": candidates,
        "context": context,
        "user": profile,
    }


def decide(target: Target, user: str, name: str, count: int, loop: str = "tips") -> list[str]:
    """Make so many decisions; their ids."""
    made: list[str] = []
    for first in range(0, count, 100):
        asked = [_decision(user, f"{name}{step + 1}", step, loop) for step in range(first, min(first + 100, count))]
        made += [result["decision_id"] for result in _post(target, "/decisions/batch", {"decisions": asked})["results"]]
    return made


def reward(target: Target, ids: Sequence[str]) -> None:
    for first in range(0, len(ids), 100):
        told = [{"decision_id": each, "reward": 0.5} for each in ids[first : first + 100]]
        results = _post(target, "/rewards/batch", {"rewards": told})["results"]
        if not all(result.get("outcome") == "applied" for result in results):
            raise SystemExit(f"a reward was not applied: {results}")


class DecidedUsers:
    """The users of a mode with decisions: copies of one, as the service left it, in its Redis."""

    def __init__(self, server: RedisServer, client: "redis.Redis", target: Target, name: str, mode: Mode) -> None:
        self.prefix = f"{name}-"
        self._client = client
        self._mode = mode
        self._parts: dict[str, bytes] = {}
        self._changed = 0
        if mode.opened:
            reward(target, decide(target, name, "t", _TAUGHT, mode.loop))
            decide(target, name, "k", mode.opened, mode.loop)
            for key in server.command("KEYS", keys.of(name, "*")):
                self._parts[keys.kind_of(key)] = client.dump(key) or b""
            self._due = float(server.command("ZSCORE", keys.due(None), name))
            self._copy()

    def _copy(self) -> None:
        """Bring all users to where the first is."""
        self._changed = 0
        for first in range(0, self._mode.users, _AT_ONCE):
            pipe = self._client.pipeline(transaction=False)
            for number in range(first, min(first + _AT_ONCE, self._mode.users)):
                user = f"{self.prefix}{number}"
                for kind, dumped in self._parts.items():
                    pipe.restore(keys.of(user, kind), 0, dumped, replace=True)
                pipe.zadd(keys.due(None), {user: self._due})
            pipe.execute()

    def run(self, target: Target, load: Load) -> tuple[Run, float]:
        """Load these users once; also the µs per request that Redis spent in commands."""
        mode = self._mode
        load = again(load, mode=mode.sends, prefix=self.prefix, loop=mode.loop)
        if mode.opened:
            expected = load.seconds * (_FASTEST if mode.at_once == 1 else _FASTEST_AT_ONCE)
            if self._changed and self._changed + expected > mode.drift * mode.users:
                self._copy()
            # A reward is told once, so each run goes on where the one before stopped.
            goes_on = mode.sends.startswith("outcome")
            load = again(load, users=mode.users, seed=self._changed // mode.at_once if goes_on else load.seed)
        before = _in_commands(self._client)
        run = measure(target, load)
        self._changed += (run.requests + 2 * load.connections) * mode.at_once
        return run, (_in_commands(self._client) - before) / max(run.requests, 1)


def _in_commands(client: "redis.Redis") -> float:
    """The µs that a Redis has spent in commands."""
    stats = client.info("commandstats")
    # EXEC's time is that of the commands that it runs, which are counted as well.
    return float(sum(each["usec"] for name, each in stats.items() if name != "cmdstat_exec"))


def beside_floor(rounds: int, load: Load) -> list[Section]:
    """Each mode beside the floor, in turn, and then the bytes of a user's decisions."""
    runs: dict[str, list[tuple[Run, Run, float]]] = {name: [] for name in _MODES}
    with kept_redis() as server, the_floor(server) as floor, serving(server) as served, server.client() as client:
        users = {name: DecidedUsers(server, client, served, name, mode) for name, mode in _MODES.items()}
        for each in users.values():
            each.run(served, again(load, seconds=1))
        measure(floor, again(load, seconds=1))
        for number in range(rounds):
            for name, each in users.items():
                base = measure(floor, again(load, seed=number * 1_000_003))
                runs[name].append((base, *each.run(served, again(load, seed=number * 1_000_003))))
        sizes = [_sizes(client, served, count) for count in (1, 32, 256)]
    floors = [base for each in runs.values() for base, _, _ in each]
    rows = [medians("floor", floors)]
    rows += [medians(_MODES[name].work, [run for _, run, _ in each]) for name, each in runs.items()]
    how = f"{load.connections} connections, {rounds} runs of {load.seconds} s each"
    bytes_how = f"MEMORY USAGE of the keys {keys.SHARED}, {keys.DECISIONS} and {keys.AGENDA} of a user, per decision"
    return [
        Section("Decisions with ids: medians per request", how, HEADER, rows),
        _ratios(runs),
        Section("Bytes of a decision", bytes_how, ["decisions of the user", "open", "rewarded"], sizes),
    ]


def _ratios(runs: Mapping[str, Sequence[tuple[Run, Run, float]]]) -> Section:
    """All in units of what was measured beside it, with what is promised."""
    rows, checks = [], []
    cpu: dict[str, list[float]] = {}
    for name, each in runs.items():
        work = _MODES[name].work
        cpu[name] = [known(run, "cpu") / known(base, "cpu") for base, run, _ in each]
        pairs = list(zip(each, runs["score"], strict=True))
        scores = [known(run, "cpu") / known(score, "cpu") for (_, run, _), (_, score, _) in pairs]
        of_score = [known(run, "redis_cpu") / known(score, "redis_cpu") for (_, run, _), (_, score, _) in pairs]
        commands = [mine / its for (_, _, mine), (_, _, its) in pairs]
        rows.append([work, *(spread(figures) for figures in (cpu[name], scores, of_score, commands))])
        checks.append(Check(f"errors: {work}", float(failures([run for _, run, _ in each])), 0, ""))
        if name == "score":
            continue
        checks.append(Check(f"CPU: {work}", median(cpu[name]), _MODES[name].limit, "of floor"))
        checks.append(Check(f"Redis's CPU: {work}", median(of_score), _OF_A_SCORE, "of a score"))
    for name in ("some", "many", "full"):
        grown = [more / less for more, less in zip(cpu[name], cpu["one"], strict=True)]
        checks.append(Check(f"CPU: {_MODES[name].work}", median(grown), _FLAT, "of one with few"))
    header = ["", "CPU, of floor", "CPU, of a score", "Redis CPU, of a score", "Redis in commands, of a score"]
    how = "Median of the ratios to the runs beside it (least to most)"
    return Section("Decisions in units of the floor and of a score", how, header, rows, checks)


def _sizes(client: "redis.Redis", target: Target, count: int) -> list[str]:
    """A row: the bytes of so many decisions of one user per decision, open and then rewarded."""
    user = f"bytes-{count}"

    def each() -> str:
        found = [keys.of(user, kind) for kind in (keys.SHARED, keys.DECISIONS, keys.AGENDA)]
        total = sum(int(client.memory_usage(key, samples=0) or 0) for key in found)
        return f"{total / count:,.0f}"

    ids = decide(target, user, "k", count)
    opened = each()
    reward(target, ids)
    return [str(count), opened, each()]
