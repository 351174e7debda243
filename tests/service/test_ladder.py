"""Promotion by evidence, from requests to who serves: a rung takes what `judge` made of the log, and nothing else."""

import asyncio
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.decision_log.lines import Decision, Outcome, moment
from app.log_reading.reading import read
from tests.support.processes import ROOT
from tests.support.redis_servers import redis_server
from tests.support.service import service
from tests.support.waiting import PATIENCE_SECONDS, until, until_async

pytestmark = pytest.mark.anyio

# The champion sees which candidate is good, and often takes another all the same. One challenger seldom does, and the
# other sees nothing.
POLICIES = """
[features]
noise = { of = "candidate", kind = "number", min = 0, max = 1 }
worth = { of = "candidate", kind = "number", min = 0, max = 1 }
[policies.wavers]
columns = ["1", "worth"]
explore = { by = "epsilon", epsilon = 0.5 }
[policies.better]
columns = ["1", "worth"]
explore = { by = "epsilon", epsilon = 0.1 }
[policies.worse]
columns = ["1", "noise"]
explore = { by = "epsilon", epsilon = 0.8 }
[loops.push]
champion = "wavers"
shadows = ["better", "worse"]
window = "1h"
"""
USERS = [f"user-{number}" for number in range(20)]
ROUNDS = 6


class Traffic:
    """The users of an application, whose requests reach any replica, and each reward another than its decision."""

    def __init__(self, clients: list[httpx.AsyncClient]) -> None:
        self.clients = clients
        self.chance = random.Random(5)
        self.decided: dict[str, int] = dict.fromkeys(("wavers", "better", "worse"), 0)

    async def run(self) -> None:
        """Some rounds, in each of which all replicas decide for all users at once."""
        for _ in range(ROUNDS):
            await asyncio.gather(*(self._one(place) for place in range(len(self.clients))))

    async def _one(self, place: int) -> None:
        good = [self.chance.choice("abc") for _ in USERS]
        asked = [
            {"user_id": user, "loop": "push", "candidates": [self._candidate(name, best) for name in "abc"]}
            for user, best in zip(USERS, good, strict=True)
        ]
        made = await self._posted(place, "/decisions/batch", decisions=asked)
        rewards = [
            {"decision_id": one["decision_id"], "reward": 1.0 if one["candidate_id"] == best else -1.0}
            for one, best in zip(made, good, strict=True)
        ]
        for one in made:
            self.decided[one["policy"]] += 1
        told = await self._posted((place + 1) % len(self.clients), "/rewards/batch", rewards=rewards)
        assert {one["outcome"] for one in told} == {"applied"}

    def _candidate(self, name: str, best: str) -> dict[str, Any]:
        return {"id": name, "features": {"worth": int(name == best), "noise": self.chance.random()}}

    async def _posted(self, place: int, path: str, **body: object) -> list[dict[str, Any]]:
        answer = await self.clients[place].post(path, json=body)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["results"]
        return found


class Operator:
    """Who looks at the evidence and asks for the next rung, each time at another replica."""

    def __init__(self, clients: list[httpx.AsyncClient], log: Path, env: dict[str, str]) -> None:
        self.clients, self.log, self.env = clients, log, env
        self.state = 0

    async def judge(self, decisions: int) -> None:
        """Make the evidence from the log, once it has so many decisions, as it is when their windows have closed."""

        def lines() -> tuple[int, int]:
            found = [type(line) for line in read(self.log, print)]
            return found.count(Decision), found.count(Outcome)

        until(lambda: lines() == (decisions, decisions), "all lines are published")
        later = moment(round((time.time() + 7_200) * 1_000))
        argv = [sys.executable, "-m", "app", "judge", str(self.log), "--loop", "push", "--as-of", later]
        done = await asyncio.to_thread(
            subprocess.run, argv, env=self.env, cwd=ROOT, capture_output=True, timeout=PATIENCE_SECONDS, check=False
        )
        assert done.returncode == 0, done.stderr

    async def refused(self, **wanted: object) -> tuple[str, Any]:
        """Why a change is refused, and the evidence that is shown for it."""
        answer = await self._put(wanted)
        assert answer.status_code == 409, answer.text
        return answer.json()["detail"], answer.json()["evidence"]

    async def climbs(self, **wanted: object) -> None:
        """A change that is made, and then followed by all replicas."""
        answer = await self._put(wanted)
        assert answer.status_code == 200, answer.text
        self.state += 1

        async def followed() -> bool:
            loops = [(await client.get("/loops")).json()["loops"] for client in self.clients]
            return all(one["state"] == self.state for each in loops for one in each if one["loop"] == "push")

        await until_async(followed, "all replicas follow")

    async def _put(self, wanted: dict[str, object]) -> httpx.Response:
        client = self.clients[self.state % len(self.clients)]
        return await client.put("/loops/push", json=wanted, headers={"If-Match": f'"{self.state}"'})


@pytest.fixture
def env(tmp_path: Path) -> Iterator[dict[str, str]]:
    (tmp_path / "log").mkdir()
    (tmp_path / "policies.toml").write_text(POLICIES)
    with redis_server() as redis:
        policies, log = str(tmp_path / "policies.toml"), f"file://{tmp_path / 'log'}"
        yield {"REDIS_URL": redis.url, "POLICIES": policies, "DECISION_LOG": log}


@pytest.fixture
async def clients(env: dict[str, str]) -> AsyncIterator[list[httpx.AsyncClient]]:
    """A client of each of three replicas."""
    async with AsyncExitStack() as stack:
        replicas = [stack.enter_context(service(env, ready="/health/ready")) for _ in range(3)]
        made = (httpx.AsyncClient(base_url=one.url, timeout=PATIENCE_SECONDS) for one in replicas)
        yield [await stack.enter_async_context(client) for client in made]


async def test_a_better_challenger_climbs_and_a_worse_one_does_not(
    env: dict[str, str], clients: list[httpx.AsyncClient], tmp_path: Path
) -> None:
    """Three replicas serve, and their log decides: who earns more is allowed each rung in turn, by what the rung before
    tells; who earns less is refused even the first, and is shown why. A reason overrules that."""
    traffic, operator = Traffic(clients), Operator(clients, tmp_path / "log", env)
    first, second = ({"policy": "better", "share": share} for share in (0.1, 0.5))
    assert (await operator.refused(canary=first))[1] is None
    each = len(USERS) * len(clients) * ROUNDS
    rungs: list[dict[str, object]] = [{"canary": first}, {"canary": second}, {"champion": "better"}]
    for rung, wanted in enumerate(rungs, 1):
        await traffic.run()
        await operator.judge(rung * each)
        why, evidence = await operator.refused(canary={"policy": "worse", "share": 0.1})
        known = {name: one["gate"] for name, one in evidence["policies"].items()}
        assert why.startswith("worse does harm")
        assert known["worse"]["high"] < 0.0 < known["better"]["low"]
        assert known["better"]["n"] == each  # of this rung alone
        assert "worse is not known to be better" in (await operator.refused(champion="worse"))[0]
        await operator.climbs(**wanted)
    assert (traffic.decided["worse"], traffic.decided["better"] > each / 4) == (0, True)
    why, _ = await operator.refused(canary={"policy": "worse", "share": 0.1})
    assert why.startswith("the evidence is about the champion wavers, and better serves")
    await operator.climbs(canary={"policy": "worse", "share": 0.1}, because="to see")
    body = {"user_id": "ann", "loop": "push", "candidates": [{"id": "a", "features": {"worth": 1}}]}
    made = (await clients[0].post("/decisions", json=body)).json()["decision_id"]
    assert (await clients[1].get(f"/decisions/{made}")).json()["state"] == operator.state
