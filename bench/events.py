"""How many events does one replica handle? 1,000 events published while it is idle, written to Redis and acked.

  .venv/bin/python -m bench.events                   one replica, 5 rounds, medians are shown
  .venv/bin/python -m bench.events --replicas 3      shared by three
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

import nats
from nats.js import JetStreamContext

from bench.measure import machine
from bench.report import Check, Section, show, spread, verdicts
from tests.servers import nats_server, redis_server, service, until_async

LIMIT_SECONDS = 2.0  # for 1,000 events and one replica


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000, help="per round (1000)")
    parser.add_argument("--users", type=int, default=1_000, help="whom the events name (1000)")
    parser.add_argument("--replicas", type=int, default=1, help="that share them (1)")
    parser.add_argument("--rounds", type=int, default=5, help="medians are shown (5)")
    return parser.parse_args()


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


async def _measure(options: argparse.Namespace) -> list[tuple[float, float]]:
    with ExitStack() as stack:
        redis = stack.enter_context(redis_server("--appendonly", "yes", "--appendfsync", "everysec"))
        server = stack.enter_context(nats_server())
        client = await nats.connect(server.url)
        js = client.jetstream()
        await js.add_stream(name="signals", subjects=["signals.>"])
        await js.add_stream(name="feedback", subjects=["feedback.>"])
        env = {"REDIS_URL": redis.url, "NATS_URL": server.url, "LOG_LEVEL": "warning"}
        for _ in range(options.replicas):
            stack.enter_context(service(env))
        await until_async(lambda: _waiting(js, options.replicas), "replicas pull", 30)
        rounds = [await _round(js, options.events, options.users) for _ in range(1 + options.rounds)]
        await client.close()
        return rounds[1:]  # the first warms up


async def _waiting(js: JetStreamContext, replicas: int) -> bool:
    try:
        info = await js.consumer_info("signals", "oo-serving-signals")
    except nats.js.errors.NotFoundError:
        return False
    return bool((info.num_waiting or 0) >= replicas)


def main() -> int:
    options = _arguments()
    rounds = asyncio.run(_measure(options))
    handled = [seconds for _, seconds in rounds]
    rates = [options.events / seconds for seconds in handled]
    checks = []
    if options.replicas == 1:
        checks = [
            Check(
                "1,000 events, one replica",
                sorted(handled)[len(handled) // 2] * 1_000 / options.events,
                LIMIT_SECONDS,
                "s",
            )
        ]
    section = Section(
        f"{options.events:,} events, {options.replicas} replica{'s' if options.replicas > 1 else ''}",
        f"median (least to most) of {options.rounds} rounds; {', '.join(machine().values())}",
        ["", "seconds", "events per second"],
        [
            ["published", spread([seconds for seconds, _ in rounds]), ""],
            ["written and acked", spread(handled), spread(rates, 0)],
        ],
        checks,
    )
    show(section)
    if checks:
        show(verdicts([section]))
    return 0 if all(check.met for check in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
