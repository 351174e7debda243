"""The proxy that disturbs Redis does what the tests that use it rely on."""

from collections.abc import Iterator

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.faults import Proxy
from tests.support.redis_groups import redis_cluster
from tests.support.redis_servers import RedisServer
from tests.support.waiting import PATIENCE_SECONDS, until

pytestmark = pytest.mark.slow  # they need a server


@pytest.fixture
def proxy(real_redis: RedisServer) -> Iterator[Proxy]:
    with Proxy(real_redis.port) as proxy:
        yield proxy


def connect(proxy: Proxy, protocol: int = 2) -> redis.Redis:
    """A client with one connection, made at once, and no retries; it waits as long as a busy machine may need."""
    client: redis.Redis = redis.Redis(
        port=proxy.port,
        socket_timeout=PATIENCE_SECONDS,
        retry=Retry(NoBackoff(), 0),
        protocol=protocol,
        single_connection_client=True,
    )
    return client


def hurry(client: redis.Redis) -> None:
    """Its next transaction waits for a moment only, for where no answer can come."""
    connection = client.connection_pool.get_connection()
    connection.update_current_socket_timeout(0.1)
    client.connection_pool.release(connection)  # it lends last what came back last


def add_one(client: redis.Redis) -> None:
    with client.pipeline(transaction=True) as transaction:
        transaction.incr("n")
        transaction.lrange("list", 0, -1)
        transaction.hgetall("hash")
        transaction.execute()


@pytest.mark.parametrize("protocol", [2, 3])
def test_without_a_fault_everything_passes(proxy: Proxy, real_redis: RedisServer, protocol: int) -> None:
    """Commands and replies of every shape pass unchanged, binary ones and large ones too."""
    blob = bytes(range(256)) * 1_000
    with connect(proxy, protocol) as client:
        client.set("blob", blob)
        client.hset("hash", mapping={"a": b"\r\n$3\r\n", "b": b""})
        client.rpush("list", *[str(number) for number in range(300)])
        assert client.get("blob") == blob
        assert client.hgetall("hash") == {b"a": b"\r\n$3\r\n", b"b": b""}
        assert client.get("absent") is None
        add_one(client)
        with pytest.raises(redis.ResponseError):
            client.incr("blob")
    assert real_redis.command("GET", "n") == "1"
    assert proxy.met == 1


def test_lost_reply(proxy: Proxy, real_redis: RedisServer) -> None:
    """EXEC is applied although its sender saw the connection end; the next one is not met."""
    with connect(proxy) as client:
        proxy.lose_reply()
        with pytest.raises(redis.ConnectionError):
            add_one(client)
        assert real_redis.command("GET", "n") == "1"
        add_one(client)
    assert real_redis.command("GET", "n") == "2"


def test_delayed_reply(proxy: Proxy, real_redis: RedisServer) -> None:
    """A reply later than the sender waits is a time-out for the sender and an update for Redis."""
    with connect(proxy) as client:
        proxy.delay_reply(3_600)
        hurry(client)
        with pytest.raises(redis.TimeoutError):
            add_one(client)
        until(lambda: real_redis.command("GET", "n") == "1", "the first EXEC applied")  # and met by its own fault
        proxy.delay_reply(0.05)
        add_one(client)
    assert real_redis.command("GET", "n") == "2"


def test_swallowed_reply(proxy: Proxy, real_redis: RedisServer) -> None:
    """The connection stays open and silent after EXEC was applied."""
    with connect(proxy) as client:
        proxy.swallow_reply()
        hurry(client)
        with pytest.raises(redis.TimeoutError):
            add_one(client)
        until(lambda: real_redis.command("GET", "n") == "1", "EXEC applied")


@pytest.mark.parametrize("cut", [False, True])
def test_held_exec_arrives_after_its_sender_has_gone(proxy: Proxy, real_redis: RedisServer, cut: bool) -> None:
    """An EXEC that is held is applied when it is released, though its sender has gone."""
    with connect(proxy) as client:
        proxy.hold_exec()
        hurry(client)
        with pytest.raises(redis.TimeoutError):
            add_one(client)
        until(lambda: proxy.held == 1, "EXEC held")
        if cut:
            proxy.cut()
    assert proxy.held == 1
    assert real_redis.command("GET", "n") is None
    proxy.release()
    until(lambda: real_redis.command("GET", "n") == "1", "the held EXEC applied")
    until(lambda: proxy.connections == 0, "the connection gone")


def test_held_for_a_while(proxy: Proxy, real_redis: RedisServer) -> None:
    """An EXEC held for less than the sender waits is just slow."""
    with connect(proxy) as client:
        proxy.hold_exec(0.05)
        add_one(client)
    assert real_redis.command("GET", "n") == "1"


def test_refuse_cut_and_heal(proxy: Proxy) -> None:
    """While connections are refused those that exist go on, until they are cut; after heal all is as before."""
    with connect(proxy) as client:
        proxy.refuse()
        assert client.ping()
        with pytest.raises(redis.ConnectionError):
            connect(proxy)
        proxy.cut()
        with pytest.raises(redis.ConnectionError):
            client.ping()
    proxy.lose_reply()
    proxy.heal()
    with connect(proxy) as client:
        add_one(client)


def test_before_a_cluster() -> None:
    """Clients of a cluster whose nodes announce proxies talk to the proxies alone."""
    proxies: list[Proxy] = []

    def announce(port: int) -> int:
        proxies.append(Proxy(port).__enter__())
        return proxies[-1].port

    try:
        # A node that is just slow must not be taken for one that is gone: this client would not wait.
        slow = ("--cluster-node-timeout", "60000")
        with (
            redis_cluster(*slow, announce=announce) as cluster,
            redis.RedisCluster("127.0.0.1", proxies[0].port, socket_timeout=PATIENCE_SECONDS) as client,
        ):
            assert {node.port for node in client.get_nodes()} == {proxy.port for proxy in proxies}
            for number in range(30):
                client.set(f"key{number}", number)
            assert all(proxy.connections for proxy in proxies)
            assert cluster.owner("key1").command("GET", "key1") == "1"
    finally:
        for proxy in proxies:
            proxy.__exit__()
