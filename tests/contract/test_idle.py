"""IDLE_USER_DAYS on every kind of store: all keys of a user expire at one moment, and nothing else does."""

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.bandit.ridge import prior
from app.commands.cli import run
from app.events.sync import Sync
from app.policies.catalog import SIZES
from state import keys
from state.redis.connect import open_servers
from state.redis.exchange import exchange
from state.redis.servers import Servers
from state.store import Store
from state.transfer import Transfer
from state.update.idle import Idle, milliseconds
from state.users import Users
from state.values import record
from state.values.stored import Stored
from tests.support.bodies import reward, score
from tests.support.decided import made, settler
from tests.support.decisions import Servers as Opener
from tests.support.decisions import one_memory, replica
from tests.support.processes import ROOT
from tests.support.redis_groups import redis_cluster
from tests.support.redis_servers import RedisServer, redis_server
from tests.support.waiting import PATIENCE_SECONDS, until_async

pytestmark = pytest.mark.anyio

DAYS = 2
DAY = 86_400_000
STAYS = -1
MODELS = ("linucb-v1", "egreedy-v1", "egreedy-v2", "tips-v3")


@pytest.fixture(scope="module", params=["memory", "redis", "cluster"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each kind of store in turn."""
    if request.param == "memory":
        yield "memory://"
    elif request.param == "redis":
        with redis_server() as server:
            yield server.url
    else:
        with redis_cluster() as cluster:
            yield cluster.url


@pytest.fixture(scope="module")
def opener() -> Iterator[Opener]:
    with one_memory() as found:
        yield found


@pytest.fixture(scope="module")
async def servers(url: str, opener: Opener) -> AsyncIterator[Servers]:
    found = opener.open(url)
    yield found
    await found.close()


@pytest.fixture(scope="module")
async def client(
    url: str, opener: Opener, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[httpx.AsyncClient]:
    async with replica(url, tmp_path_factory.mktemp("policies"), "", idle_user_days=DAYS) as found:
        yield found


@pytest.fixture
async def store(servers: Servers) -> Store:
    return opened(servers, Idle(DAYS, SIZES))


def opened(servers: Servers, idle: Idle) -> Store:
    return Store(servers, timeout=PATIENCE_SECONDS, history_size=9, marker_seconds=60, idle=idle)


async def ask(servers: Servers, *words: str | int | bytes) -> Any:
    async with servers.connection(str(words[1])) as connection:
        [reply] = await exchange(connection, [words])
    return reply


def named(user: str) -> list[str]:
    return [keys.of(user, kind) for kind in (*keys.fixed(MODELS), keys.SEEN)]


async def ends(servers: Servers, user: str) -> dict[str, int]:
    """When each key of a user expires that exists, by its last part, without idempotency keys."""
    found = {keys.kind_of(key): await ask(servers, "PEXPIRETIME", key) for key in named(user)}
    return {kind: at for kind, at in found.items() if at != -2}


async def put(servers: Servers, user: str, at: int) -> None:
    """Make it another day: the user's moment, and that of every key."""
    await ask(servers, "SET", keys.of(user, keys.SEEN), at)
    for key in named(user):
        await ask(servers, "PEXPIREAT", key, at)


async def now(servers: Servers, user: str) -> int:
    async with servers.connection(keys.of(user, "")) as connection:
        [clock] = await exchange(connection, [("TIME",)])
    return milliseconds(clock)


async def use(client: httpx.AsyncClient, store: Store, user: str) -> None:
    """Everything that writes a key of a user."""
    answers = [
        await client.post("/score", json=score(user)),
        await client.post("/reward/egreedy", json=reward(user), headers={"Idempotency-Key": "k"}),
        await client.post("/decisions", json={"user_id": user, "id": "d", "candidates": [{"id": "a"}]}),
    ]
    whole = answers[2].json()["decision_id"]
    answers.append(await client.post(f"/decisions/{whole}/reward", json={"reward": 1}))
    assert [answer.status_code for answer in answers] == [200] * 4
    await Sync(store).synced(user, {"provider": "todo"}, 1_000.0)
    await Sync(store).synced(user, {"provider": "todo"}, 2_000.0)  # removes the key, and makes it again


async def test_all_keys_expire_together(client: httpx.AsyncClient, servers: Servers, store: Store) -> None:
    """Whichever route wrote which key: the models, history, sync and decisions. What users share stays, and idempotency
    keys keep their own time."""
    before = await now(servers, "ann")
    await use(client, store, "ann")
    after = await now(servers, "ann")
    found = await ends(servers, "ann")
    assert found.keys() == {*MODELS, "history", "sync", "u", "d", "t", "seen"}
    [at] = set(found.values())
    assert at in {Idle(DAYS).moment("ann", moment) for moment in (before, after)}
    assert int(await ask(servers, "GET", keys.of("ann", keys.SEEN))) == at
    marker = keys.marker("ann", "egreedy-v1", "k")
    assert before < await ask(servers, "PEXPIRETIME", marker) < at
    assert await ask(servers, "PEXPIRETIME", store.due.key("ann")) == STAYS


async def test_a_day_later(client: httpx.AsyncClient, servers: Servers, store: Store) -> None:
    """The first change, whatever it is, puts all keys off, also those that it does not touch; the next leave them."""
    await use(client, store, "bea")
    [at] = set((await ends(servers, "bea")).values())
    await put(servers, "bea", at - DAY)
    await client.post("/reward", json=reward("bea"))
    assert set((await ends(servers, "bea")).values()) == {at}
    await ask(servers, "PEXPIREAT", keys.record("bea", "linucb-v1"), at - 1)
    await client.post("/reward", json=reward("bea"))
    assert (await ends(servers, "bea"))["linucb-v1"] == at - 1


async def test_who_expired_is_new(client: httpx.AsyncClient, servers: Servers, store: Store) -> None:
    """Nothing is left but a place among those who are due, which settling tidies, without a new key of the user."""
    await use(client, store, "cy")
    await put(servers, "cy", 1)
    assert await ends(servers, "cy") == {}
    assert (await client.get("/stats/cy")).json()["pulls"] == 0
    assert (await client.post("/decisions/d.Y3k/reward", json={"reward": 1})).status_code == 404
    await ask(servers, "ZADD", store.due.key("cy"), 1, "cy")
    done = await settler(store).all(await now(servers, "cy"))
    assert done.failed == []
    assert await ask(servers, "ZSCORE", store.due.key("cy"), "cy") is None
    assert await ends(servers, "cy") == {}
    await use(client, store, "cy")
    assert len(set((await ends(servers, "cy")).values())) == 1


async def test_a_key_that_went_alone(client: httpx.AsyncClient, servers: Servers, store: Store) -> None:
    """One that a change makes again the same day gets the moment of the others; so after a reset, too."""
    await use(client, store, "dan")
    [at] = set((await ends(servers, "dan")).values())
    assert (await client.post("/reset/dan")).status_code == 200
    assert (await ends(servers, "dan")).keys() == {"sync", "seen"}
    await use(client, store, "dan")
    found = await ends(servers, "dan")
    assert (set(found.values()), len(found)) == ({at}, 10)


async def test_erasing(client: httpx.AsyncClient, servers: Servers, store: Store) -> None:
    """The moment goes with all else, and is named."""
    await use(client, store, "eve")
    removed = (await client.delete("/users/eve")).json()["removed"]
    assert keys.of("eve", keys.SEEN) in removed
    assert await ends(servers, "eve") == {}


async def test_without_the_setting(
    url: str, opener: Opener, client: httpx.AsyncClient, servers: Servers, store: Store, tmp_path: Path
) -> None:
    """A replica without it writes keys that stay; when users were to expire before, they keep all they have as soon as
    they come again. Of a Redis that never knew the setting nothing is asked."""
    await use(client, store, "flo")
    fresh = opened(servers, Idle())
    await ask(servers, "DEL", keys.IDLE)
    await fresh.note_idle()
    assert not fresh.idle.is_on
    await store.note_idle()
    async with replica(url, tmp_path, "", idle_user_days=0) as off:
        await until_async(lambda: stays(off, servers), "flo stays")
    found = await ends(servers, "flo")
    assert found.keys() == {*MODELS, "history", "sync", "u", "d", "t"}
    assert set(found.values()) == {STAYS}


async def stays(client: httpx.AsyncClient, servers: Servers) -> bool:
    assert (await client.post("/reward", json=reward("flo"))).status_code == 200
    return keys.SEEN not in await ends(servers, "flo")


async def test_settling(servers: Servers, store: Store) -> None:
    """A default that is booked without the user is a change like any other: the models that it makes expire too."""
    await made(store, "gil", "one")
    found = await ends(servers, "gil")
    assert len(set(found.values())) == 1
    assert STAYS not in found.values()


async def test_import(servers: Servers) -> None:
    """A model that is written for a user who has others: all of them expire together from then on."""
    transfer = Transfer(servers, patience=PATIENCE_SECONDS, idle=Idle(DAYS, SIZES))
    fields = record.encode(record.Record(*prior(5), record.Meta()))
    for overwrite in (False, True):
        assert await transfer.write([Stored("hal", "linucb-v1", fields)], overwrite=overwrite) == 1
        await put(servers, "hal", await now(servers, "hal") + DAY)
        await ask(servers, "HSET", keys.record("hal", "egreedy-v1"), "A", "1")
        assert await transfer.write([Stored("hal", "linucb-v1", fields)], overwrite=overwrite) == overwrite
        found = await ends(servers, "hal")
        assert found.keys() == {"linucb-v1", "egreedy-v1", "seen"}
        assert set(found.values()) == {Idle(DAYS).moment("hal", await now(servers, "hal"))}
        await ask(servers, "DEL", *named("hal"))


@pytest.mark.parametrize("url", ["redis", "cluster"], indirect=True)
async def test_a_restored_user(client: httpx.AsyncClient, servers: Servers, store: Store) -> None:
    """Expires as if all had changed now, whenever the backup was made; a restore without the setting has keys stay."""
    await use(client, store, "ida")
    policies = [*SIZES, "tips-v3"]
    users = Users(servers, patience=PATIENCE_SECONDS, fixed=keys.fixed(policies), idle=Idle(DAYS))
    [[whole]] = [group async for group in users.read([("ida", [])])]
    assert keys.SEEN not in {item.kind for item in whole.stored}
    await put(servers, "ida", await now(servers, "ida") + DAY)
    assert await users.write([whole.stored], strays=[[]]) == [True]
    found = await ends(servers, "ida")
    assert (len(found), len(set(found.values()))) == (10, 1)
    assert found["d"] == Idle(DAYS).moment("ida", await now(servers, "ida"))
    plain = Users(servers, patience=PATIENCE_SECONDS, fixed=keys.fixed(policies))
    assert await plain.write([whole.stored], strays=[[]]) == [True]
    found = await ends(servers, "ida")
    assert (len(found), set(found.values())) == (9, {STAYS})


@pytest.fixture
def environ(real_redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", real_redis.url)
    monkeypatch.setenv("IDLE_USER_DAYS", str(DAYS))


async def test_rights(real_redis: RedisServer) -> None:
    """Those that the documents name are enough: for the first change of a day, and for taking the moment away."""
    text = (ROOT / "docs" / "run" / "operations.md").read_text()
    base = re.search(r"ACL SETUSER oo-serving on (.*?)```", text, re.DOTALL)
    more = re.search(r"^\| \[`IDLE_USER_DAYS`\].*\| `(.*)` \|$", text, re.MULTILINE)
    assert base
    assert more
    words = re.sub(r"['\\\\]", "", f"{base[1]} {more[1]}").split()
    real_redis.command("ACL", "SETUSER", "idle", "on", *words)
    servers = open_servers(
        real_redis.url.replace("redis://", "redis://idle:PASSWORD@"), size=4, timeout=PATIENCE_SECONDS
    )
    for days, expected in ((DAYS, 1), (0, 0)):
        store = opened(servers, Idle(days, SIZES))
        await store.note_idle()
        await Sync(store).synced("kim", {}, 1_000.0)
        assert real_redis.command("EXISTS", keys.of("kim", keys.SEEN)) == expected
    assert real_redis.command("PEXPIRETIME", keys.sync("kim")) == STAYS
    await servers.close()
    real_redis.command("ACL", "DELUSER", "idle")


def test_commands(environ: None, real_redis: RedisServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A backup has no moment, a restore gives one, and `show` says it."""
    with real_redis.client() as redis:
        redis.execute_command("RPUSH", keys.history("jo"), '[1795438044,"rent",1,9,true,3,4,"linucb-v1",null,null]')
        redis.execute_command("SET", keys.of("jo", keys.SEEN), 1)
        assert run(["export", str(tmp_path / "all.gz")]) == 0
        redis.flushall()
        assert run(["restore", str(tmp_path / "all.gz")]) == 0
        at = redis.execute_command("PEXPIRETIME", keys.history("jo"))
        assert at > 0
        assert redis.execute_command("PEXPIRETIME", keys.of("jo", keys.SEEN)) == at
    capsys.readouterr()
    assert run(["show", "jo"]) == 0
    assert "expires 20" in capsys.readouterr().out
