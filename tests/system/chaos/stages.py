"""The systems that are broken, and how: a single Redis, one behind sentinels, and a cluster.

Each is three processes of the service behind HAProxy, with the log of decisions on. On every Redis, AOF is fsynced
before a write is answered. With Sentinel and Cluster a write is acknowledged only when the one replica of its master
has it too: then a failover loses nothing, as long as the servers that hold a write are not struck both before they are
in sync again.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Final

import msgspec
import redis

from state import keys
from tests.support.faults import Proxy
from tests.support.processes import Server
from tests.support.proxies import haproxy
from tests.support.redis_groups import Cluster, redis_cluster, redis_sentinel
from tests.support.redis_servers import RedisServer, redis_server
from tests.support.service import service
from tests.support.waiting import ServerError, until
from tests.system.chaos.clients import USERS
from tests.system.chaos.faults import Fault, frozen, killed
from tests.system.chaos.log.places import LogPlace
from tests.system.chaos.loops import FILE

__all__ = ["STAGES", "Stage"]

_PROCESSES: Final = 3
_DURABLE: Final = ("--appendonly", "yes", "--appendfsync", "always")
_SYNC_SECONDS: Final = 120.0


class Stage(msgspec.Struct):
    """A system under test: `processes` of the service behind `port`, and its Redis.

    `url` is where the service finds that Redis when nothing is in between.

    `strike_redis` draws a fault of Redis; the first one drawn is the one that this stage is for. It is called only
    while `in_sync`, that is after all servers recovered from the one before.
    """

    port: int
    url: str
    processes: Sequence[Server]
    in_sync: Callable[[], bool]
    strike_redis: Callable[[random.Random], Fault]
    strike_network: Callable[[random.Random], Fault] | None
    read: Callable[[], Any]


@contextmanager
def _served(urls: Sequence[str], log: LogPlace, **settings: str) -> Iterator[tuple[Server, list[Server]]]:
    """The load balancer and the processes behind it, which write to `log`. Histories hold every score of a run."""
    with ExitStack() as stack:
        env = {"FEATURE_HISTORY_SIZE": "10000", "LOG_LEVEL": "warning", "ACCESS_LOG": "off", **log.settings, **settings}
        env["POLICIES"] = str(FILE)
        processes = [stack.enter_context(service({"REDIS_URL": url, **env})) for url in urls]
        yield stack.enter_context(haproxy(processes)), processes


@contextmanager
def standalone(log: LogPlace) -> Iterator[Stage]:
    """One Redis, and between it and each process a proxy that cuts, delays and drops."""
    with ExitStack() as stack:
        server = stack.enter_context(redis_server(*_DURABLE))
        proxies = [stack.enter_context(Proxy(server.port)) for _ in range(_PROCESSES)]
        balancer, processes = stack.enter_context(_served([proxy.url for proxy in proxies], log))
        struck = 0

        def strike_redis(draw: random.Random) -> Fault:
            nonlocal struck
            struck += 1
            how = killed if struck == 1 else draw.choice([killed, frozen])
            return how("Redis", server, draw.uniform(0.2, 3.0))

        deck = ["drop", "late", "hold", "cut", "swallow", "cut off"]

        def strike_network(draw: random.Random) -> Fault:
            number = draw.randrange(_PROCESSES)
            proxy, whom, count = proxies[number], f"service {number + 1} to Redis", draw.randint(1, 5)
            seconds = draw.uniform(0.1, 3.0)

            def cut_off() -> None:
                proxy.refuse()
                proxy.cut()

            def often(act: Callable[[], object]) -> Callable[[], None]:
                def act_often() -> None:
                    for _ in range(count):
                        act()

                return act_often

            faults = {
                "drop": Fault(whom, f"replies to {count} EXEC dropped", often(proxy.lose_reply)),
                "late": Fault(
                    whom, f"replies to {count} EXEC {seconds:.1f} s late", often(lambda: proxy.delay_reply(seconds))
                ),
                "hold": Fault(whom, f"{count} EXEC held back {seconds:.1f} s", often(lambda: proxy.hold_exec(seconds))),
                "cut": Fault(whom, "all connections cut", proxy.cut),
                "swallow": Fault(whom, f"replies to {count} EXEC swallowed", often(proxy.swallow_reply)),
                "cut off": Fault(whom, "cut off, connected again", cut_off, proxy.heal, seconds),
            }
            # As from a pack of cards, so that a short run meets each kind.
            kind = deck.pop(0)
            if not deck:
                deck.extend(draw.sample(list(faults), len(faults)))
            return faults[kind]

        yield Stage(
            balancer.port, server.url, processes, lambda: server.running, strike_redis, strike_network, server.client
        )


@contextmanager
def sentinel(log: LogPlace) -> Iterator[Stage]:
    """A master, its replica and three sentinels; the first fault kills the master."""
    words = (*_DURABLE, "--min-replicas-to-write", "1", "--min-replicas-max-lag", "2")
    with ExitStack() as stack:
        group = stack.enter_context(redis_sentinel(*words))
        balancer, processes = stack.enter_context(_served([group.url] * _PROCESSES, log, REDIS_WAIT_REPLICAS="1"))
        struck = 0

        def in_sync() -> bool:
            with suppress(redis.RedisError, OSError):
                masters = {
                    tuple(one.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", group.name)) for one in group.sentinels
                }
                return len(masters) == 1 and _replicates(group.master, group.replicas)
            return False

        def strike_redis(draw: random.Random) -> Fault:
            nonlocal struck
            struck += 1
            master, [replica] = group.master, group.replicas
            # Long enough for the sentinels to notice, and at times not.
            seconds = draw.uniform(0.3, 5.0)
            if struck == 1:
                return killed(f"master {master.port}", master, 3.0)
            watcher = draw.choice(group.sentinels)
            return draw.choice(
                [
                    killed(f"master {master.port}", master, seconds),
                    killed(f"master {master.port}", master, seconds),
                    frozen(f"master {master.port}", master, seconds),
                    frozen(f"master {master.port}", master, seconds),
                    draw.choice([killed, frozen])(f"Redis replica {replica.port}", replica, seconds),
                    draw.choice([killed, frozen])(f"sentinel {watcher.port}", watcher, seconds),
                ]
            )

        def read() -> redis.Redis:
            until(in_sync, "sentinels agree, and the replica is in sync", _SYNC_SECONDS)
            return group.master.client()

        yield Stage(balancer.port, group.url, processes, in_sync, strike_redis, None, read)


def _replicates(master: RedisServer, replicas: Sequence[RedisServer]) -> bool:
    """Whether the replicas have all that the master has, and on disk what they would start with."""
    for server in (master, *replicas):
        info = server.info()
        role = "master" if server is master else "slave"
        if info["role"] != role or info["loading"] != "0" or info["aof_rewrite_in_progress"] != "0":
            return False
        if server is not master and (info["master_port"], info["master_link_status"]) != (str(master.port), "up"):
            return False
        if server is master and info["connected_slaves"] != str(len(replicas)):
            return False
    return True


@contextmanager
def cluster(log: LogPlace) -> Iterator[Stage]:
    """Three masters with a replica each; the first faults are a killed master and the move of a user's slot."""
    with ExitStack() as stack:
        group = stack.enter_context(redis_cluster(*_DURABLE, replicas=1))
        balancer, processes = stack.enter_context(_served([group.url] * _PROCESSES, log, REDIS_WAIT_REPLICAS="1"))
        struck = 0

        def in_sync() -> bool:
            with suppress(redis.RedisError, OSError, KeyError):
                shards = _shards(group)
                return (
                    group.settled()
                    and len(shards) == len(group.masters)
                    and all(len(replicas) == 1 and _replicates(master, replicas) for master, replicas in shards)
                )
            return False

        def strike_redis(draw: random.Random) -> Fault:
            nonlocal struck
            struck += 1
            user = draw.choice(USERS)
            owner, replica, others = _place(group, keys.history(user))
            target = draw.choice(others)
            seconds = draw.uniform(0.3, 5.0)
            move = Fault(
                f"slot of {user}",
                f"moved from {owner.port} to {target.port}",
                lambda: _move_slot(group, keys.history(user), target),
            )
            if struck <= 2:
                return killed(f"master {owner.port}", owner, 3.0) if struck == 1 else move
            return draw.choice(
                [
                    move,
                    move,
                    killed(f"master {owner.port}", owner, seconds),
                    frozen(f"master {owner.port}", owner, seconds),
                    draw.choice([killed, frozen])(f"Redis replica {replica.port}", replica, seconds),
                ]
            )

        def read() -> redis.RedisCluster:
            until(in_sync, "the cluster is complete and in sync", _SYNC_SECONDS)
            return redis.RedisCluster("127.0.0.1", group.masters[0].port)

        yield Stage(balancer.port, group.url, processes, in_sync, strike_redis, None, read)


def _nodes(server: RedisServer) -> list[list[str]]:
    return [line.split() for line in str(server.command("CLUSTER", "NODES")).splitlines()]


def _shards(group: Cluster) -> list[tuple[RedisServer, list[RedisServer]]]:
    """Each master that has slots and its replicas, on which all nodes must agree; none if they do not."""
    views = []
    for server in group.servers:
        lines = _nodes(server)
        if any("fail" in flag for line in lines for flag in line[2].split(",")):
            return []
        views.append({line[0]: (line[3] if "slave" in line[2] else "", *line[8:]) for line in lines})
    if any(view != views[0] for view in views):
        return []
    return [
        (group.ids[node], [group.ids[other] for other, row in views[0].items() if row[0] == node])
        for node, row in views[0].items()
        if not row[0] and len(row) > 1
    ]


def _place(group: Cluster, key: str) -> tuple[RedisServer, RedisServer, list[RedisServer]]:
    """The master that has `key`, its replica and the other masters, once all nodes agree.

    On a busy machine a node may at any time be taken for failed, for a moment.
    """
    found: list[tuple[RedisServer, RedisServer, list[RedisServer]]] = []

    def agreed() -> bool:
        with suppress(redis.RedisError, OSError, KeyError, ServerError):
            shards, owner = _shards(group), group.owner(key)
            for master, replicas in shards:
                if master is owner and len(replicas) == 1:
                    found.append((owner, replicas[0], [other for other, _ in shards if other is not owner]))
        return bool(found)

    until(agreed, "the nodes of the cluster agree", _SYNC_SECONDS)
    return found[0]


def _move_slot(group: Cluster, key: str, target: RedisServer) -> None:
    """Move the slot of `key`, and wait until a failover of its new master would lose nothing of it."""
    group.move(key, target, _SYNC_SECONDS)
    written = int(target.info()["master_repl_offset"])
    _, replica, _ = _place(group, key)
    until(lambda: int(replica.info()["slave_repl_offset"]) >= written, "moved keys on the replica", _SYNC_SECONDS)


STAGES: Final = {"standalone": standalone, "sentinel": sentinel, "cluster": cluster}
