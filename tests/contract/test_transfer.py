"""Keys in bulk: ten thousand users, a cluster, a Sentinel, and what Redis does meanwhile."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.commands import moving
from app.commands.cli import run
from state import keys
from state.errors import ConflictError, StoreUnavailable
from state.redis.connect import open_servers
from state.redis.servers import Servers
from state.shared import Shared
from state.sorter import Sorter
from state.store import Store
from state.transfer import Transfer
from state.update.changes import Change, Fields, Hash, Once
from state.users import Users
from state.values import record
from state.values.record import Meta, Record
from state.values.stored import Stored
from tests.support.redis_groups import Cluster, Sentinels, redis_cluster, redis_sentinel
from tests.support.redis_servers import RedisServer, redis_server
from tests.support.waiting import PATIENCE_SECONDS, until
from tests.unit.app.commands import samples

ROOT = Path(__file__).parent.parent.parent
USERS = 10_000
LIFE_MS = 3_600_000
POLICIES = ["linucb-v1", "egreedy-v1", "egreedy-v2"]
FIXED = keys.fixed(POLICIES)
ENTRY = b'[1795438044,"rent",1.7349351572897473,9,true,3.0,4,"linucb-v1"]'


def model(d: int, number: int) -> dict[bytes, bytes]:
    """A model that rewards could have given, of another number another one."""
    a = np.eye(d) + np.diag([number % 7, *[0.0] * (d - 1)])
    return record.encode(Record(a, np.full(d, number / 8), Meta(number, 1, 2, 0.5, number)))


def stored(number: int) -> list[Stored]:
    """What a user may have; every tenth has all of it. No two users have the same."""
    user = f"user {number}"
    found = [
        Stored(user, "linucb-v1", model(5, number)),
        Stored(user, keys.HISTORY, [ENTRY, b'[%d,"\xc3\xbc",0,9,true,3,4,"p"]' % number]),
    ]
    if number % 10 == 0:
        found += [
            Stored(user, "egreedy-v2", model(12, number)),
            Stored(user, keys.SYNC, {b"provider": b"todo", b"number": b"%d" % number}),
            Stored(user, "linucb-v1:once:k", b"%032x" % number, LIFE_MS),
        ]
    return found


def fill(server: RedisServer, users: int) -> None:
    """Write the keys of many users, not through what is tested."""
    with server.client(socket_timeout=None) as client:
        for start in range(0, users, 5_000):
            with client.pipeline(transaction=False) as pipe:
                for number in range(start, min(users, start + 5_000)):
                    for item in stored(number):
                        pipe.execute_command(*command(item))
                        if item.expires_ms is not None:
                            key = keys.index(item.user)
                            pipe.execute_command("ZADD", key, 1, item.kind, 2**40, "")
                            pipe.execute_command("PEXPIRE", key, 2 * item.expires_ms)
                pipe.execute()


def command(item: Stored) -> tuple[Any, ...]:
    key = keys.of(item.user, item.kind)
    if isinstance(item.value, dict):
        return ("HSET", key, *(part for pair in item.value.items() for part in pair))
    if isinstance(item.value, list):
        return ("RPUSH", key, *item.value)
    return ("SET", key, item.value, "PX", item.expires_ms)


@asynccontextmanager
async def transferring(url: str, patience: float = PATIENCE_SECONDS) -> AsyncIterator[tuple[Transfer, Store]]:
    servers = open_servers(url, size=8, timeout=PATIENCE_SECONDS)
    try:
        yield (
            Transfer(servers, patience=patience),
            Store(servers, timeout=patience, history_size=9, marker_seconds=3_600),
        )
    finally:
        await servers.close()


async def everything(servers: Servers) -> dict[tuple[str, str], Stored]:
    """All keys of all users, as an export reads them."""
    with Sorter() as sorter:
        async for _ in Transfer(servers, patience=PATIENCE_SECONDS).list_all(sorter, FIXED):
            pass
        wanted = [(user, [kind for kind, _ in rows]) for user, rows in sorter]
        users = Users(servers, patience=PATIENCE_SECONDS, fixed=FIXED)
        found = [item async for group in users.read(wanted) for one in group for item in one.stored]
    return {(item.user, item.kind): item for item in found}


def fixed(user: str) -> list[str]:
    return [keys.of(user, kind) for kind in FIXED]


def without_time(item: Stored) -> tuple[object, bool]:
    return item.value, item.expires_ms is None


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    # What is just slow must not be taken for what is gone: a transfer does not wait for it.
    with redis_cluster("--cluster-node-timeout", "60000") as group:
        yield group


@pytest.fixture(scope="module")
def sentinels() -> Iterator[Sentinels]:
    with redis_sentinel(down_after_ms=3_600_000) as group:  # likewise
        yield group


def test_ten_thousand_users(tmp_path: Path) -> None:
    """An export of 10,000 users, restored into another Redis, is the same byte for byte: Redis itself computes one
    digest over all keys and values."""
    debug = ("--enable-debug-command", "local")

    def digest(server: RedisServer) -> object:
        with server.client(socket_timeout=None) as client:  # redis-py gives it 5 s, too few on a busy machine
            return client.execute_command("DEBUG", "DIGEST")

    def program(word: str, server: RedisServer) -> str:
        command = [sys.executable, "-m", "app", word, str(tmp_path / "f")]
        environ = {**os.environ, "REDIS_URL": server.url, "STORE_TIMEOUT_SECONDS": f"{PATIENCE_SECONDS:g}"}
        return subprocess.run(command, cwd=ROOT, env=environ, check=True, stdout=subprocess.PIPE, text=True).stdout

    with redis_server(*debug) as source, redis_server(*debug) as target:
        fill(source, USERS)
        assert "10,000 history, 1,000 idempotency, 10,000 linucb-v1, 1,000 sync" in program("export", source)
        restored = "restored: 10,000 users (23,000 keys); there already: 0; left out: 0\n"
        assert program("restore", target) == restored
        # And 1,000 indexes, whose times are of each Redis' own clock.
        assert target.command("DBSIZE") == source.command("DBSIZE") == 24_000
        for server in (source, target):
            with server.client(socket_timeout=None) as client, client.pipeline(transaction=False) as pipe:
                for number in range(0, USERS, 10):
                    pipe.unlink(keys.index(f"user {number}"))
                assert sum(pipe.execute()) == 1_000
        assert digest(target) == digest(source)
        target.command("HSET", keys.record("user 7", "linucb-v1"), "meta", "x")
        assert digest(target) != digest(source)


def test_a_model_that_comes_after_the_search(
    real_redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A user's first model under a policy of a file is exported though the search for users has passed: the user's
    decisions are read later too, and tell of a reward that is in it."""

    class Late(Transfer):
        async def list_all(self, sorter: Sorter, fixed: Sequence[str]) -> AsyncGenerator[tuple[int, list[str]], None]:
            await self.write([samples.model("ann")], overwrite=True)
            async for page in super().list_all(sorter, fixed):
                yield page
            shared = Shared(self._servers, timeout=PATIENCE_SECONDS)
            await shared.publish(samples.COLUMNS)
            await shared.note_policies([samples.NAMED.kind])
            await self.write([samples.NAMED], overwrite=True)

    monkeypatch.setenv("REDIS_URL", real_redis.url)
    monkeypatch.setattr(moving, "Transfer", Late)
    assert run(["export", str(tmp_path / "file")]) == 0
    assert capsys.readouterr().out.startswith("exported: 1 users: 1 linucb-v1, 1 push-v1; left out: 0 keys; ")


def test_a_user_with_a_policy_of_a_file_alone_is_there(
    real_redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A restore leaves a user alone whose only model is under such a policy."""

    async def fill() -> None:
        async with transferring(real_redis.url) as (transfer, _):
            shared = Shared(transfer._servers, timeout=PATIENCE_SECONDS)
            await shared.publish(samples.COLUMNS)
            await shared.note_policies([samples.NAMED.kind])
            await transfer.write([samples.NAMED], overwrite=True)

    asyncio.run(fill())
    monkeypatch.setenv("REDIS_URL", real_redis.url)
    assert run(["export", str(tmp_path / "file")]) == 0
    capsys.readouterr()
    assert run(["restore", str(tmp_path / "file")]) == 0
    assert capsys.readouterr().out == "restored: 0 users (0 keys); there already: 1; left out: 0\n"


@pytest.mark.parametrize("kind", ["cluster", "sentinel", "unix"])
def test_every_kind_of_redis(
    kind: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Export, restore and erase reach every user wherever the keys are."""
    with redis_server(unix=True) as single, redis_server() as again:
        fill(single, 300)
        url = (
            single.url
            if kind == "unix"
            else request.getfixturevalue("cluster" if kind == "cluster" else "sentinels").url
        )
        file = str(tmp_path / "f")
        for words, at in (
            (["export", file], single.url),
            (["restore", file, "--overwrite"], url),
            (["restore", file], url),
            (["export", file], url),
            (["restore", file], again.url),
            (["erase", "user 10", "--yes"], url),
            (["show", "user 10"], url),
        ):
            monkeypatch.setenv("REDIS_URL", at)
            monkeypatch.setenv("STORE_TIMEOUT_SECONDS", f"{PATIENCE_SECONDS:g}")
            assert run(words) == (1 if words[0] == "show" else 0)
        out = capsys.readouterr().out
        assert out.count("restored: 300 users (690 keys); there already: 0; left out: 0") == 2
        assert "restored: 0 users (0 keys); there already: 300" in out
        assert "removed: 6 keys\nuser 10\nthere is nothing of this user" in out

        async def compare() -> None:
            async with transferring(again.url) as (one, _), transferring(url) as (other, _):
                copies = await everything(one._servers)
                expected = {(item.user, item.kind): item for number in range(300) for item in stored(number)}
                assert copies.keys() == expected.keys()
                assert all(without_time(copies[at]) == without_time(expected[at]) for at in expected)
                assert all(0 < (item.expires_ms or 1) <= 3_600_000 for item in copies.values())
                assert {at for at in expected if at[0] == "user 10"} == expected.keys() - (
                    await everything(other._servers)
                ).keys()
                assert await other.present(expected.values()) == 685
                assert await one.count() == 720

        asyncio.run(compare())


def test_a_cluster_s_operation_ids_belong_to_no_user(cluster: Cluster) -> None:
    """On a cluster an operation id lies in the user's slot and under a name that is not the user's, so it need not be
    found when the user is erased; one that an earlier version left is, as long as such may be there."""

    async def scenario() -> None:
        async with transferring(cluster.url) as (_, store):
            await store.wipe("ann", [keys.history("ann")])
            with cluster.owner(keys.history("ann")).client() as client:
                assert client.keys("oo:{ann}:*") == []
                assert client.keys("oo:flight:*")
                client.set("oo:{ann}:flight:old:0", "1|")
                assert await store.erase("ann", fixed("ann")) == ["oo:{ann}:flight:old:0"]
            assert await store.erase("ann", fixed("ann")) == []

    asyncio.run(scenario())


def test_erase_amid_updates(real_redis: RedisServer) -> None:
    """What is written while a user is looked through is erased as a whole or stays as a whole: no idempotency key is
    left of a reward that is gone. A client that changes the user all the time may keep it from being erased."""
    key = keys.record("ann", "linucb-v1")
    fill(real_redis, 2_000)

    def step(values: Any) -> Change[None]:
        return Change(None, (Fields(key, {b"n": b"%d" % (int(values[key][0] or 0) + 1)}),))

    async def scenario() -> tuple[int, int]:
        async with transferring(real_redis.url) as (_, store), transferring(real_redis.url) as (_, other):

            async def update(through: Store, name: str) -> None:
                for number in range(300):
                    marker = keys.marker("ann", "linucb-v1", f"{name}-{number}")
                    # A writer that is last too often gets an error, and tries again.
                    while True:
                        with suppress(ConflictError):
                            await through.update("ann", (Hash(key, (b"n",)),), step, once=Once(marker, b"", None))
                            break

            writers = [asyncio.create_task(update(through, name)) for through, name in ((store, "a"), (other, "b"))]
            removed = refused = 0
            while not all(writer.done() for writer in writers):
                try:
                    removed += len(await store.erase("ann", fixed("ann")))
                except ConflictError:
                    refused += 1
            await asyncio.gather(*writers)
            return removed, refused

    removed, refused = asyncio.run(scenario())
    assert removed + refused
    left = len(real_redis.command("KEYS", "oo:{ann}:linucb-v1:once:*"))
    assert int(real_redis.command("HGET", key, "n") or 0) == left


def test_erase_after_a_slot_moved(cluster: Cluster) -> None:
    """A server that no longer has the user finds nothing, which must not pass for there being nothing."""

    async def scenario() -> None:
        async with transferring(cluster.url) as (transfer, store):
            await transfer.write([Stored("mover", "linucb-v1", {b"A": b"1"})], overwrite=True)
            key = keys.of("mover", "linucb-v1")
            source = cluster.owner(key)
            target = next(server for server in cluster.masters if server is not source)
            cluster.move(key, target)
            assert await store.erase("mover", fixed("mover")) == [key]
            assert target.command("EXISTS", key) == 0

    asyncio.run(scenario())


def test_slots_that_move_are_noticed(cluster: Cluster) -> None:
    """An export during which keys moved from one server to another may have missed some, so it fails."""
    fill_cluster = [item for number in range(20) for item in stored(number)]
    empty = 16_383
    ids = {server: name for name, server in cluster.ids.items()}
    first, last = cluster.masters[0], cluster.masters[-1]

    async def scenario() -> None:
        async with transferring(cluster.url) as (transfer, _):
            await transfer.write(fill_cluster, overwrite=True)
            pages = transfer.list_all(sorter, FIXED)
            await anext(pages)
            # Announced as an import, for then the new owner outweighs what the old one still says.
            first.command("CLUSTER", "SETSLOT", empty, "IMPORTING", ids[last])
            for server in cluster.masters:
                server.command("CLUSTER", "SETSLOT", empty, "NODE", ids[first])
            # Until a node knows of the new owner's epoch, a message of the old one may still give the slot back there.
            until(lambda: len({_said_of(server, ids[first]) for server in cluster.masters}) == 1, "all know the owner")
            with pytest.raises(StoreUnavailable, match="moved"):
                _ = [page async for page in pages]

    with Sorter() as sorter:
        asyncio.run(scenario())


def _said_of(server: RedisServer, node: str) -> tuple[str, ...]:
    """The epoch and the slots of a node, as `server` knows them."""
    lines = [line.split() for line in server.command("CLUSTER", "NODES").splitlines()]
    return next((line[6], *line[8:]) for line in lines if line[0] == node)


def test_a_cluster_that_lacks_a_part_is_not_exported() -> None:
    """Keys that no server has, or servers that do not answer, are an error: a backup without them would be none."""
    with redis_cluster(masters=1) as group:  # with more, a message on its way could give the slot back

        async def count() -> int:
            async with transferring(group.url) as (transfer, _):
                return await transfer.count()

        assert asyncio.run(count()) == 0
        [server] = group.masters
        server.command("CLUSTER", "DELSLOTS", 16_383)
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            asyncio.run(count())
        server.stop()
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            asyncio.run(count())


def test_refusals_are_told() -> None:
    """Redis that forbids, has no room or does not answer is StoreUnavailable, in words without an address; what was
    refused is not there in part."""
    with redis_server(user=("moving", "secret", "~oo:* +@all -scan")) as server:

        async def scenario() -> None:
            async with transferring(server.url) as (transfer, store):
                item = stored(1)
                users = Users(transfer._servers, patience=PATIENCE_SECONDS, fixed=FIXED)
                with pytest.raises(StoreUnavailable, match=r"^Redis refuses: NoPermissionError$"):
                    await everything(transfer._servers)
                with pytest.raises(StoreUnavailable, match=r"^Redis refuses: NoPermissionError$"):
                    await store.erase("ann", fixed("ann"), thorough=True)
                server.command("CONFIG", "SET", "maxmemory", "1")
                with pytest.raises(StoreUnavailable, match=r"^Redis refuses: OutOfMemoryError$"):
                    await transfer.write(item, overwrite=False)
                with pytest.raises(StoreUnavailable, match=r"^Redis refuses: OutOfMemoryError$"):
                    await users.write([item], strays=None)
                server.command("CONFIG", "SET", "maxmemory", "0")
                assert await transfer.present(item) == 0
                server.pause()
                try:
                    async with transferring(server.url, patience=0.2) as (impatient, _):
                        with pytest.raises(StoreUnavailable, match=r"^Redis did not answer in time$"):
                            await impatient.count()
                finally:
                    server.resume()

        asyncio.run(scenario())
