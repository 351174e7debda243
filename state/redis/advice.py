"""Warnings for the operator, once after the start, about settings of Redis that can lose state."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Final

from redis.exceptions import RedisError, ResponseError

from state.redis.exchange import exchange
from state.redis.failure import cause, reason
from state.redis.servers import Servers

__all__ = ["advise", "warnings"]

_log: Final = logging.getLogger("oo.store")
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 30.0


def warnings(info: Mapping[str, str], *, wait_replicas: int) -> list[str]:
    """One line for each setting that can lose state, or refuses it, from the fields of INFO.

    A missing field gives no warning. `wait_replicas` is how many replicas must have a write before it is acknowledged.
    https://redis.io/docs/latest/develop/reference/eviction/ and .../operate/oss_and_stack/management/persistence/
    """
    found = []
    policy = info.get("maxmemory_policy", "noeviction")
    if policy.startswith("allkeys-"):
        found.append(f"Redis has maxmemory-policy {policy}: when its memory is full it DROPS users' models")
    elif policy.startswith("volatile-"):
        found.append(
            f"Redis has maxmemory-policy {policy}: when its memory is full it forgets idempotency keys, "
            "and a repeated reward counts TWICE"
        )
    if info.get("role") == "slave":
        found.append("Redis is a replica, which takes no writes: name its master, or ask sentinels for it")
    if info.get("aof_enabled") == "0":
        found.append("Redis has appendonly no: when it stops, all since its last snapshot is LOST")
    replicas = info.get("connected_slaves", "0")
    if not wait_replicas and replicas != "0":
        found.append(
            f"Redis has replicas (connected: {replicas}) and REDIS_WAIT_REPLICAS is 0: a failover LOSES acknowledged "
            "rewards; set it to 1 if a replica may become the master"
        )
    return found


async def advise(servers: Servers, *, patience: float, wait_replicas: int | None = None) -> None:
    """Log the warnings about the Redis behind `servers` as soon as it answers; none if INFO is not allowed.

    `patience` (seconds) is for each attempt. Of a cluster one node is asked. `wait_replicas` is as for the store.
    """
    pause = _FIRST_PAUSE
    while True:
        try:
            async with asyncio.timeout(patience), servers.connection("") as connection:
                [reply] = await exchange(connection, [("INFO",)])
            break
        except (RedisError, OSError) as error:
            level = logging.WARNING if pause == _FIRST_PAUSE else logging.DEBUG
            _log.log(level, "%s%s: requests are answered 503 meanwhile", reason(error), cause(error))
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
    if isinstance(reply, ResponseError):
        _log.info("the settings of Redis are unknown: %s", type(reply).__name__)
        return
    if wait_replicas is None:
        wait_replicas = int(servers.replicated)
    if servers.replicated and not wait_replicas:
        # INFO would not show a replica that is away at this moment.
        _log.warning(
            "REDIS_WAIT_REPLICAS is 0 with Sentinel or a Cluster that has replicas: a failover LOSES acknowledged "
            "rewards; leave it at auto"
        )
        wait_replicas = 1
    fields = (line.partition(":") for line in reply.decode(errors="replace").splitlines())
    for line in warnings({name: value for name, _, value in fields}, wait_replicas=wait_replicas):
        _log.warning("%s", line)
