"""Promotion by evidence, from the log to who serves: each rung takes what `judge` made of the log, and nothing else."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.decisions import replica
from tests.support.redis_servers import redis_server
from tests.support.waiting import PATIENCE_SECONDS, until_async
from tests.unit.app.judging.world import POLICIES, made, moved, written

pytestmark = pytest.mark.anyio


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The log of a loop whose shadow is better than its champion."""
    (tmp_path / "log").mkdir()
    return written(tmp_path / "log", moved(made().lines, int(time.time() * 1_000)))


async def test_a_better_challenger_climbs(tmp_path: Path, log: Path) -> None:
    """It is refused without evidence, climbs each rung by the evidence alone, and serves. Then the evidence is about
    another champion than the one that serves: the former one is refused, unless there is a reason."""
    (tmp_path / "policies.toml").write_text(POLICIES)
    with redis_server() as redis:
        async with replica(redis.url, tmp_path, POLICIES) as client:

            async def put(state: int, **wanted: object) -> tuple[int, bool]:
                answer = await client.put("/loops/push", json=wanted, headers={"If-Match": f'"{state}"'})
                return answer.status_code, bool(answer.json().get("evidence"))

            first, second = ({"policy": "sighted", "share": share} for share in (0.1, 0.5))
            assert await put(0, canary=first) == (409, False)
            env = {**os.environ, "REDIS_URL": redis.url, "POLICIES": str(tmp_path / "policies.toml")}
            argv = [sys.executable, "-m", "app", "judge", str(log)]
            done = subprocess.run(argv, env=env, capture_output=True, timeout=PATIENCE_SECONDS, check=False)  # noqa: ASYNC221
            assert done.returncode == 0, done.stderr
            assert (await put(0, canary=first))[0] == 200
            assert (await put(1, canary=second))[0] == 200
            assert (await put(2, champion="sighted"))[0] == 200
            loops = (await client.get("/loops")).json()["loops"]
            [push] = [loop for loop in loops if loop["loop"] == "push"]
            assert (push["state"], push["champion"], push["canary"]) == (3, "sighted", None)
            assert (await put(3, canary={"policy": "blind", "share": 0.1}))[0] == 409
            assert (await put(3, canary={"policy": "blind", "share": 0.1}, because="to see"))[0] == 200

            async def decided() -> bool:
                body = {"user_id": "ann", "loop": "push", "candidates": [{"id": "a", "features": {"worth": 1}}]}
                made = (await client.post("/decisions", json=body)).json()["decision_id"]
                return bool((await client.get(f"/decisions/{made}")).json()["state"] == 4)

            await until_async(decided, "decisions are made under the last state")
