"""Several redis-servers for tests: a master with replicas and sentinels, or a Redis Cluster."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import msgspec

from tests.support.processes import HOST, free_port, program, temporary_directory
from tests.support.redis_servers import RedisServer, make_redis, redis_answers
from tests.support.waiting import PATIENCE_SECONDS, ServerError, until

__all__ = ["Cluster", "Sentinels", "redis_cluster", "redis_sentinel"]


class Sentinels(msgspec.Struct, frozen=True):
    """One master and its replicas, watched by sentinels; who is master changes when it is killed."""

    url: str
    name: str
    servers: list[RedisServer]
    sentinels: list[RedisServer]

    @property
    def master(self) -> RedisServer:
        """The server that the first sentinel now calls the master."""
        _, port = self.sentinels[0].command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.name)
        return next(server for server in self.servers if server.port == int(port))

    @property
    def replicas(self) -> list[RedisServer]:
        master = self.master
        return [server for server in self.servers if server is not master]

    def settled(self) -> bool:
        """Whether the master has all replicas that run in sync and every sentinel knows all the others.

        After a server came back this may take 20 s: sentinels ask for the replicas every 10 s.
        """
        others = [server for server in self.replicas if server.running]
        if any(server.info().get("master_link_status") != "up" for server in others):
            return False
        if self.master.info().get("connected_slaves") != str(len(others)):
            return False
        for sentinel in self.sentinels:
            reply = sentinel.command("SENTINEL", "MASTER", self.name)
            fields = reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))
            known = int(fields["num-other-sentinels"]), int(fields["num-slaves"])
            if known != (len(self.sentinels) - 1, len(self.servers) - 1):
                return False
        return True


@contextmanager
def redis_sentinel(*args: str, replicas: int = 1, down_after_ms: int = 500) -> Iterator[Sentinels]:
    """A master, its replicas and three sentinels with quorum 2, all in sync; `args` go to master and replicas."""
    name = "mymaster"
    with ExitStack() as stack:
        directory = stack.enter_context(temporary_directory())
        servers: list[RedisServer] = []
        for index in range(1 + replicas):
            port = free_port()
            # In the file, not an argument: a promoted replica forgets it and stays master when it is started again.
            config = f"replicaof {HOST} {servers[0].port}\n" if index else ""
            where, url = directory / f"redis-{index}", f"redis://{HOST}:{port}/0"
            server = make_redis(where, port, url, ["--repl-ping-replica-period", "1", *args], config)
            stack.callback(server.kill)
            servers.append(server.start())
        sentinels: list[RedisServer] = []
        for index in range(3):
            port = free_port()
            config = (
                f"sentinel monitor {name} {HOST} {servers[0].port} 2\n"
                f"sentinel down-after-milliseconds {name} {down_after_ms}\n"
                f"sentinel failover-timeout {name} 3000\n"
            )
            where, url = directory / f"sentinel-{index}", f"redis://{HOST}:{port}"
            where.mkdir()
            path = where / "sentinel.conf"
            path.write_text(f"port {port}\nbind {HOST}\ndir {where}\n{config}")
            argv = [program("redis-server"), str(path), "--sentinel"]
            sentinel = RedisServer(argv, port=port, url=url, directory=where, ready=redis_answers)
            stack.callback(sentinel.kill)
            sentinels.append(sentinel.start())
        addresses = ",".join(f"{HOST}:{sentinel.port}" for sentinel in sentinels)
        group = Sentinels(f"redis+sentinel://{addresses}/{name}/0", name, servers, sentinels)
        until(group.settled, "sentinels and replicas in sync")
        yield group


class Cluster(msgspec.Struct, frozen=True):
    """A Redis Cluster: `masters[i]` had the i-th share of the slots at first, `replicas[i]` follow `masters[i % n]`."""

    url: str
    masters: list[RedisServer]
    replicas: list[RedisServer]
    ids: dict[str, RedisServer]

    @property
    def servers(self) -> list[RedisServer]:
        return list(self.ids.values())

    def slot(self, key: str) -> int:
        return int(self.masters[0].command("CLUSTER", "KEYSLOT", key))

    def owner(self, key: str) -> RedisServer:
        """The server that now serves the slot of `key`."""
        found = _owner(next(server for server in self.servers if server.running), self.slot(key))
        if not found:
            raise ServerError(f"no server has the slot of {key}")
        return self.ids[found]

    def move(self, key: str, target: RedisServer, seconds: float = PATIENCE_SECONDS) -> None:
        """Move the slot of `key`, in use or not, as `redis-cli --cluster reshard` does, and wait until all know."""
        source, slot = self.owner(key), self.slot(key)
        ids = {server: name for name, server in self.ids.items()}
        target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
        source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])
        while names := source.command("CLUSTER", "GETKEYSINSLOT", slot, 100):
            source.command("MIGRATE", HOST, target.port, "", 0, int(PATIENCE_SECONDS * 1_000), "KEYS", *names)
        for server in (target, source):
            server.command("CLUSTER", "SETSLOT", slot, "NODE", ids[target])
        until(
            lambda: all(_owner(one, slot) == ids[target] for one in self.servers if one.running), "slot moved", seconds
        )

    def settled(self) -> bool:
        """Whether every server that runs calls the cluster complete and knows all of it."""
        running = [server for server in self.servers if server.running]
        return all(_cluster_state(server) == ("ok", str(len(self.servers))) for server in running)


def _cluster_nodes(server: RedisServer) -> list[list[str]]:
    return [line.split() for line in str(server.command("CLUSTER", "NODES")).splitlines()]


def _owner(asked: RedisServer, slot: int) -> str | None:
    """The id of the node that has the slot, as far as `asked` knows."""
    for line in _cluster_nodes(asked):
        if any(int(span.split("-")[0]) <= slot <= int(span.split("-")[-1]) for span in line[8:] if span[0] != "["):
            return line[0]
    return None


def _cluster_state(server: RedisServer) -> tuple[str, str]:
    fields = dict(line.split(":", 1) for line in str(server.command("CLUSTER", "INFO")).split("\r\n") if ":" in line)
    return fields["cluster_state"], fields["cluster_known_nodes"]


@contextmanager
def redis_cluster(
    *args: str, masters: int = 3, replicas: int = 0, announce: Callable[[int], int] | None = None
) -> Iterator[Cluster]:
    """A Redis Cluster with all slots assigned and its state ok; `args` go to every node.

    `replicas` is per master. `announce` is called with each node's port before it starts and returns the port that
    clients are told instead: that of a proxy in front of it (the URL then names the proxies too).
    """
    with ExitStack() as stack:
        directory = stack.enter_context(temporary_directory())
        servers: list[RedisServer] = []
        announced: list[int] = []
        buses: list[int] = []
        for index in range(masters * (1 + replicas)):
            port, bus = free_port(), free_port()
            announced.append(announce(port) if announce else port)
            buses.append(bus)
            words = ["--cluster-enabled", "yes", "--cluster-port", str(bus), "--cluster-node-timeout", "1000"]
            words += ["--cluster-announce-port", str(announced[-1]), "--cluster-announce-bus-port", str(bus)]
            words += ["--cluster-replica-validity-factor", "0", "--repl-ping-replica-period", "1"]
            server = make_redis(directory / f"node-{index}", port, f"redis://{HOST}:{port}", [*words, *args])
            stack.callback(server.kill)
            servers.append(server.start())
        first, *others = servers
        bounds = [16_384 * index // masters for index in range(masters + 1)]
        for index, server in enumerate(servers):
            server.command("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
            if index < masters:
                server.command("CLUSTER", "ADDSLOTSRANGE", bounds[index], bounds[index + 1] - 1)
        for server, bus in zip(others, buses[1:], strict=True):
            first.command("CLUSTER", "MEET", HOST, server.port, bus)
        group = Cluster(
            "redis+cluster://" + ",".join(f"{HOST}:{port}" for port in announced[:masters]),
            servers[:masters],
            servers[masters:],
            {str(server.command("CLUSTER", "MYID")): server for server in servers},
        )
        until(group.settled, "the cluster's state ok on every node")
        ids = list(group.ids)
        for index, server in enumerate(group.replicas):
            server.command("CLUSTER", "REPLICATE", ids[index % masters])
        until(
            lambda: all(server.info().get("master_link_status") == "up" for server in group.replicas),
            "the cluster's replicas in sync",
        )
        yield group
