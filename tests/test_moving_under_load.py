"""An export under load and its restore lose no reward and double none, whatever is repeated afterwards."""

import asyncio
import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.chaos.__main__ import holding
from tests.chaos.judge import Ledger, Verdict, judge
from tests.chaos.moving import USERS, Writers, moved, repeated
from tests.servers import redis_cluster, redis_server

READY = 150  # rewards under way before something is tried


@contextmanager
def system(kind: str) -> Iterator[tuple[str, Any]]:
    """The URL of a Redis, and a client of it."""
    if kind == "cluster":
        with redis_cluster("--cluster-node-timeout", "60000", masters=2) as group:
            yield group.url, redis.RedisCluster("127.0.0.1", group.masters[0].port)
    else:
        with redis_server() as server, server.client() as client:
            yield server.url, client


def verdict_of(url: str, client: Any, ledger: Ledger) -> Verdict:
    """After every reward of the ledger was sent once more."""
    asyncio.run(repeated(url, ledger))
    return judge(ledger, holding(client, USERS))


@pytest.mark.parametrize("kind", ["standalone", "cluster"])
def test_nothing_is_lost_or_doubled(kind: str, tmp_path: Path) -> None:
    """Exported while rewards come in, restored into an empty Redis and into one that has half of the users and goes on
    teaching them: after every reward was repeated with its key, each is in the models once."""
    sent = Ledger()
    with system(kind) as (url, client):
        with Writers(url, USERS, sent, "old", 1) as writers:
            writers.go_on(2 * READY)
            for number in range(3):
                assert moved("export", tmp_path / str(number), url) == 0
            writers.go_on(READY)
        assert judge(sent, holding(client, USERS)).right
    with system(kind) as (url, client):
        assert moved("restore", tmp_path / "0", url) == 0
        verdict = verdict_of(url, client, copy.deepcopy(sent))
        assert verdict.right, verdict.findings
    with system(kind) as (url, client):
        live = copy.deepcopy(sent)
        with Writers(url, USERS[::2], live, "new", 2) as writers:
            writers.go_on(READY)
            assert moved("restore", tmp_path / "2", url) == 0
            writers.go_on(READY)
        verdict = verdict_of(url, client, live)
        assert verdict.right, verdict.findings
