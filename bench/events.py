"""How many events does one replica handle? 1,000 events published while it is idle, written to Redis and acked.

  ./dev bench --events                               one replica, 5 rounds, medians are shown
  ./dev bench --events 3                             shared by three
  .venv/bin/python -m bench.events --events 10000    more of them

nats-server (file storage) and Redis (appendonly, everysec) are started for it. The time is from the first publish until
the server knows all events as acked; publishing runs beside it, in this process, and is part of the load.
"""

import argparse
import asyncio
import json
import sys
import time
from contextlib import ExitStack
from typing import Any

import nats
from nats.js import JetStreamContext

from bench import report
from bench.measure import machine, require
from bench.report import Check, Section, spread
from tests.support.nats_servers import nats_server
from tests.support.redis_servers import redis_server
from tests.support.service import service
from tests.support.waiting import until_async

LIMIT_SECONDS = 2.0  # for 1,000 events and one replica


def _arguments() -> dict[str, Any]:
    """What was set; what was not is as `written_events` has it."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("--events", type=int, help="per round (1000)")
    parser.add_argument("--users", type=int, help="whom the events name (1000)")
    parser.add_argument("--replicas", type=int, help="that share them (1)")
    parser.add_argument("--rounds", type=int, help="medians are shown (5)")
    return vars(parser.parse_args())


async def _acked(js: JetStreamContext, sequence: int) -> bool:
    info = await js.consumer_info("signals", "oo-serving-signals")
    return info.ack_floor is not None and bool(info.ack_floor.stream_seq >= sequence)


async def _round(js: JetStreamContext, events: int, users: int) -> tuple[float, float]:
    """Seconds until all were published, and until all were acked."""
    before = (await js.stream_info("signals")).state.last_seq
    started = time.perf_counter()
    for number in range(events):
        event = {"user_id": f"user-{number % users}", "provider": "todo", "tasks": [{"id": "t1", "done": False}] * 3}
        await js.publish_async("signals.task.synced", json.dumps(event).encode())
    await js.publish_async_completed()
    published = time.perf_counter() - started
    await until_async(lambda: _acked(js, before + events), "all events acked", 120)
    return published, time.perf_counter() - started


async def _measure(*, events: int, users: int, replicas: int, rounds: int) -> list[tuple[float, float]]:
    with ExitStack() as stack:
        redis = stack.enter_context(redis_server("--appendonly", "yes", "--appendfsync", "everysec"))
        server = stack.enter_context(nats_server())
        client = await nats.connect(server.url)
        js = client.jetstream()
        await js.add_stream(name="signals", subjects=["signals.>"])
        await js.add_stream(name="feedback", subjects=["feedback.>"])
        env = {"REDIS_URL": redis.url, "NATS_URL": server.url, "LOG_LEVEL": "warning"}
        for _ in range(replicas):
            stack.enter_context(service(env))
        await until_async(lambda: _waiting(js, replicas), "replicas pull", 30)
        found = [await _round(js, events, users) for _ in range(1 + rounds)]
        await client.close()
        return found[1:]  # the first warms up


async def _waiting(js: JetStreamContext, replicas: int) -> bool:
    try:
        info = await js.consumer_info("signals", "oo-serving-signals")
    except nats.js.errors.NotFoundError:
        return False
    return bool((info.num_waiting or 0) >= replicas)


def written_events(*, events: int = 1_000, users: int = 1_000, replicas: int = 1, rounds: int = 5) -> list[Section]:
    """How long `replicas` take for `events` that name `users`; the promise is about one replica."""
    found = asyncio.run(_measure(events=events, users=users, replicas=replicas, rounds=rounds))
    handled = [seconds for _, seconds in found]
    checks = []
    if replicas == 1:
        seconds = sorted(handled)[len(handled) // 2] * 1_000 / events
        checks = [Check("1,000 events, one replica", seconds, LIMIT_SECONDS, "s")]
    return [
        Section(
            f"{events:,} events, {replicas} replica{'s' if replicas > 1 else ''}",
            f"median (least to most) of {rounds} rounds",
            ["", "seconds", "events per second"],
            [
                ["published", spread([seconds for seconds, _ in found]), ""],
                ["written and acked", spread(handled), spread([events / seconds for seconds in handled], 0)],
            ],
            checks,
        )
    ]


def main() -> int:
    wanted = _arguments()
    require("redis-server", "nats-server")
    return report.tell(machine(), written_events(**wanted))


if __name__ == "__main__":
    sys.exit(main())
