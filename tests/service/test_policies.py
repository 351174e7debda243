"""The policy file: read at the start and again on SIGHUP, explained by `python -m app policies`, and columns pruned."""

import asyncio
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.commands.cli import run
from app.decisions.reward import Learner
from app.learning.models import Models
from app.policies.catalog import catalog
from state.redis.connect import open_servers
from state.store import Store
from tests.service.test_start import start
from tests.support.processes import ROOT
from tests.support.redis_servers import RedisServer, without_place
from tests.support.service import service
from tests.support.waiting import PATIENCE_SECONDS, until
from tests.unit.app.bandit.samples import moment
from tests.unit.app.decisions.scene import rules_of

FILE = """
[policies.{name}]
columns = ["1", "task_age"]
explore = {{ by = "linucb", alpha = 0.2, floor = 0.02 }}
"""


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_bad_file_stops_the_start(workers: str, store: RedisServer, tmp_path: Path) -> None:
    """With one line, and the exit code of other wrong settings."""
    path = tmp_path / "policies.toml"
    path.write_text(FILE.format(name="p").replace("floor", "flor"))
    done = start(POLICIES=str(path), WORKERS=workers, REDIS_URL=store.url)
    assert (done.returncode, done.stdout) == (2, "")
    said = "[policies] p: explore: has a key 'flor'; it takes by, alpha, floor"
    assert done.stderr == f"POLICIES: {path}: {said}\n"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_another_file_without_a_restart(workers: str, store: RedisServer, tmp_path: Path) -> None:
    """After SIGHUP to the service's process each worker has the file as it is now, and Redis knows its policies; a bad
    file is one line for each worker, and changes nothing."""
    path = tmp_path / "policies.toml"
    path.write_text(FILE.format(name="first"))

    def known() -> set[bytes]:
        with store.client() as client:
            return set(client.smembers("oo:policies"))

    with service({"POLICIES": str(path), "WORKERS": workers, "REDIS_URL": store.url}) as server:

        def until_all_say(text: str, times: int = 1) -> None:
            until(lambda: server.log.count(text) == times * int(workers), text)

        until(lambda: b"first" in known(), "policies are known")
        until_all_say("Application startup complete.")  # a worker that starts with a bad file ends
        path.write_text("[policies]\nx = 3")
        os.kill(server.pid, signal.SIGHUP)
        until_all_say(f"POLICIES: {path}: [policies] x: takes a table with ")
        until_all_say("the policies stay as they are")
        path.write_text(FILE.format(name="second"))
        os.kill(server.pid, signal.SIGHUP)
        until_all_say("POLICIES read again: 6 policies, 1 loops")
        until(lambda: b"second" in known(), "the new policy is known")
        assert "read again: 5" not in server.log
        assert server.stop() == 0
    assert {b"first", b"second", b"tips-v3"} <= known()


# The command

OLD = FILE.format(name="p").replace('"task_age"', '"task_age", "priority"')
NEW = FILE.format(name="p").replace('"1"', '"1", "hour"')
DAY = 86_400
USERS = 150


async def learn(url: str, file: str, users: int, day: int) -> None:
    """Rewards for some users from a replica with this file, on this day."""
    store = Store(
        open_servers(url, size=8, timeout=PATIENCE_SECONDS),
        timeout=PATIENCE_SECONDS,
        history_size=1,
        marker_seconds=60,
    )
    try:
        rows = catalog(file).policies
        models = Models(store, rows)
        await models.publish(day * DAY)
        learner = Learner(rules_of(store, rows, models=models), clock=lambda: day * DAY)
        features = {"task_age_days": 15, "priority": 4}
        await asyncio.gather(
            *(
                learner.learn("p", f"user {n}", context=moment(9, 2), features=features, reward=0.5)
                for n in range(users)
            )
        )
    finally:
        await store.close()


def sums(store: RedisServer, file: str, user: str) -> dict[str, float]:
    """What a replica with this file has of b, by column."""

    async def read() -> dict[str, float]:
        servers = open_servers(store.url, size=4, timeout=PATIENCE_SECONDS)
        found = Store(servers, timeout=PATIENCE_SECONDS, history_size=1, marker_seconds=60)
        policy = catalog(file).policies["p"]
        try:
            model = await Models(found, {"p": policy}).read(policy, user)
        finally:
            await found.close()
        return dict(zip(policy.labels, model.b.tolist(), strict=True))

    return asyncio.run(read())


@pytest.fixture
def operator(
    store: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> "Operator":
    store.command("FLUSHALL")
    monkeypatch.setenv("REDIS_URL", store.url)
    monkeypatch.setenv("STORE_TIMEOUT_SECONDS", str(PATIENCE_SECONDS))
    return Operator(tmp_path / "policies.toml", capsys, store.url)


class Operator:
    """Who calls `policies` with the text of a file."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str], url: str) -> None:
        self.path = path
        self._url = url
        self._capsys = capsys

    def __call__(self, text: str, *words: str) -> tuple[int, str, str]:
        self.path.write_text(text)
        code = run(["policies", "--policies", str(self.path), *words])
        said = self._capsys.readouterr()
        return code, said.out, without_place(said.err, self._url)


def test_what_a_file_does_to_models(store: RedisServer, operator: Operator) -> None:
    """At first nothing is known; then what it adds, drops and takes back; a policy that is in no file is named."""
    assert "\n  → Redis knows no models of it\n" in operator(OLD)[1]
    asyncio.run(learn(store.url, OLD, 1, day=20_000))
    assert "\n  → the columns are those that models have\n" in operator(OLD)[1]
    out = operator(NEW)[1]
    assert "\n  → added: hour_sin, hour_cos\n" in out
    assert "\n  → dropped, kept in models: priority\n" in out
    asyncio.run(learn(store.url, NEW, 1, day=20_001))
    assert "\n  → taken back: priority\n" in operator(OLD)[1]
    code, out, err = operator("")
    assert (code, err) == (0, "")
    assert "\np: not in the file; its models stay in Redis, and are erased with their users\n" in out


def test_unused_columns_are_pruned(store: RedisServer, operator: Operator) -> None:
    """From all users, once they are old enough; what is left is as it was. A dry run changes nothing."""
    asyncio.run(learn(store.url, OLD, USERS, day=20_000))
    assert operator(NEW, "--prune", "--older-than", "36500")[1] == (
        "no policy has columns that were unused for 36500d\n"
    )
    assert operator(OLD, "--prune")[1] == "no policy has columns that were unused for 25h\n"
    said = "p: unused for 25h: priority\n"
    assert operator(NEW, "--prune", "--dry-run") == (0, f"{said}would be pruned: {USERS} models; left out: 0\n", "")
    assert sums(store, OLD, "user 7") == {"1": 0.5, "task_age": 0.25, "priority": 0.5}
    assert operator(NEW, "--prune") == (0, f"{said}pruned: {USERS} models; left out: 0\n", "")
    assert sums(store, OLD, "user 7") == {"1": 0.5, "task_age": 0.25, "priority": 0.0}
    assert operator(NEW, "--prune")[1] == "no policy has columns that were unused for 25h\n"


def test_a_damaged_model_is_left_out(store: RedisServer, operator: Operator) -> None:
    """It is named, the others are pruned, and the exit code says that something is left."""
    asyncio.run(learn(store.url, OLD, 3, day=20_000))
    store.command("HSET", "oo:{user%201}:p", "b", "short")
    code, out, err = operator(NEW, "--prune")
    assert code == 1
    assert out.endswith("pruned: 2 models; left out: 1\n")
    assert err == "left out: oo:{user%201}:p: b has 5 bytes, not 24 (d = 3)\n"
    store.command("DEL", "oo:{user%201}:p")
    assert operator(NEW, "--prune")[0] == 0


def test_nothing_is_lost_while_replicas_serve(store: RedisServer, operator: Operator, tmp_path: Path) -> None:
    """Replicas with the new file go on to learn while columns are pruned: each reward is there once."""
    asyncio.run(learn(store.url, OLD, USERS, day=20_000))
    operator.path.write_text(NEW)
    command = [sys.executable, "-m", "app", "policies", "--policies", str(operator.path), "--prune"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as pruning:
        rounds = 0
        while pruning.poll() is None:
            asyncio.run(learn(store.url, NEW, USERS, day=20_001))
            rounds += 1
    assert pruning.returncode == 0
    for user in ("user 0", "user 80", f"user {USERS - 1}"):
        found = sums(store, NEW, user)
        assert found["1"] == 0.5 + 0.5 * rounds
        assert found["task_age"] == 0.25 + 0.25 * rounds
        assert sums(store, OLD, user)["priority"] == 0.0


def test_at_a_terminal(store: RedisServer, operator: Operator) -> None:
    """In colours, as wide as the terminal and no wider."""
    operator.path.write_text(OLD)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "app", "policies", "--policies", str(operator.path)]
    environ = {**os.environ, "COLUMNS": "60", "TERM": "xterm-256color"}
    with subprocess.Popen(command, cwd=ROOT, env=environ, stdout=theirs) as shown:
        os.close(theirs)
        text = b""
        while True:
            try:
                part = os.read(ours, 65_536)
            except OSError:  # the other end is closed
                break
            text += part
    os.close(ours)
    assert shown.returncode == 0
    assert b"\x1b[33m" in text
    lines = re.sub(rb"\x1b\[[0-9;]*m", b"", text).decode().splitlines()
    assert max(map(len, lines)) <= 60


OWN = """
[features]
channel = { of = "candidate", kind = "category", values = ["push", "mail"] }
topics = { of = "candidate", kind = "hash", buckets = 16 }
taste = { of = "candidate", kind = "vector", size = 3 }

[policies.push-v1]
columns = ["topics", "taste"]
cross = [["1", "hour"], ["1", "channel"]]
explore = { by = "thompson", scale = 0.1, floor = 0.05 }

[loops.push]
champion = "push-v1"
"""


def test_own_features_by_a_file_alone(store: RedisServer, tmp_path: Path) -> None:
    """A policy with categories, hashed texts and vectors decides over HTTP, and learns which channel is better when."""
    path = tmp_path / "policies.toml"
    path.write_text(OWN)
    candidates = [
        {"id": "a", "features": {"channel": "push", "topics": ["news", "sport"], "taste": [0.5, 0.0, -0.5]}},
        {"id": "b", "features": {"channel": "mail", "topics": "news", "taste": [0, 0.5, 0]}},
        {"id": "nothing"},
    ]

    def decide(number: int, hour: int) -> dict[str, Any]:
        body = {"user_id": "ann", "id": f"d{number}", "loop": "push", "context": {"hour_of_day": hour}}
        found: dict[str, Any] = client.post("/decisions", json={**body, "candidates": candidates}).json()
        return found

    with (
        service({"POLICIES": str(path), "REDIS_URL": store.url}) as server,
        httpx.Client(base_url=server.url, timeout=PATIENCE_SECONDS) as client,
    ):
        for number in range(120):
            hour = 6 if number % 2 else 18
            made = decide(number, hour)
            right = made["candidate_id"] == ("a" if hour == 6 else "b")
            told = client.post(f"/decisions/{made['decision_id']}/reward", json={"reward": 1 if right else -1})
            assert told.json()["outcome"] == "applied"
        shares = [decide(1_000 + hour, hour)["candidates"] for hour in (6, 18)]
        [learned] = client.get("/users/ann").json()["policies"].values()
    best = [max(each, key=lambda one: float(one["propensity"]))["id"] for each in shares]
    assert best == ["a", "b"]
    assert sum(one["propensity"] for one in shares[0]) == pytest.approx(1.0, abs=1e-12)
    assert learned["reward_count"] == 120
    assert {"channel=push*hour_sin", "topics#0", "taste[2]", "1"} <= learned["theta"].keys()
