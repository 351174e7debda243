"""Do slow language models hold up the rest? 200 POST /generate over 32 connections while /score goes on.

  ./dev bench --generate                            a stand-in for the LLM proxy that answers after 300 ms
  .venv/bin/python -m bench.generate --delay 0.1    the same with other figures

The service runs against a Redis of its own. /score comes from wrk at a steady pace, first alone, then while the calls
to /generate run; both spells are equally long, so that their 99th percentiles can be compared.
"""

import argparse
import asyncio
import json
import math
import statistics
import sys
import time
from typing import Any

from bench import report
from bench.measure import Load, Run, Target, machine, measure, require
from bench.report import Check, Section, spread
from tests.support.redis_servers import redis_server
from tests.support.service import service
from tests.support.standin import Asked, completion, http, stand_in

TIPS = json.dumps([{"id": str(index), "content": "Take a walk before lunch."} for index in range(3)])
TASKS = [{"title": f"Task {index}", "priority": 2, "age_days": index} for index in range(10)]


def _arguments() -> dict[str, Any]:
    """What was set; what was not is as `slow_model` has it."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("--calls", type=int, help="to /generate in a burst (200)")
    parser.add_argument("--connections", type=int, help="they come over, and LLM_MAX_CONCURRENCY (32)")
    parser.add_argument("--delay", type=float, help="seconds until the stand-in answers (0.3)")
    parser.add_argument("--pace", type=int, help="/score requests per second, 0 for all it can (300)")
    parser.add_argument("--score-connections", type=int, help="/score comes over (8)")
    parser.add_argument("--rounds", type=int, help="quiet and busy spells, medians are shown (5)")
    return vars(parser.parse_args())


async def burst(port: int, calls: int, connections: int) -> float:
    """Seconds that so many calls to /generate take over so many connections; all must succeed.

    Plain sockets: what the caller needs of the processor is missing to those it measures.
    """
    body = json.dumps({"user_id": "ada", "context": {"tasks": TASKS}}).encode()
    request = b"POST /generate HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    left = iter(range(calls))

    async def one_after_another() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in left:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split()[0])
            answer = await reader.readexactly(length)
            if not head.startswith(b"HTTP/1.1 200 "):
                raise SystemExit(f"/generate failed: {(head + answer).decode()}")
        writer.close()
        await writer.wait_closed()

    started = time.perf_counter()
    await asyncio.gather(*(one_after_another() for _ in range(connections)))
    return time.perf_counter() - started


async def compare(
    *, calls: int, connections: int, delay: float, pace: int, score_connections: int, rounds: int
) -> tuple[list[float], list[Run], list[Run]]:
    """The seconds of each burst, and per round /score alone and /score while bursts follow each other."""

    async def slow(_: Asked) -> bytes:
        await asyncio.sleep(delay)
        return http(completion(TIPS))

    bursts: list[float] = []
    quiet: list[Run] = []
    busy: list[Run] = []
    async with stand_in(slow) as llm:
        environ = {"LITELLM_URL": llm.url, "LITELLM_MASTER_KEY": "sk-bench", "LOG_LEVEL": "warning"}
        environ["LLM_MAX_CONCURRENCY"] = str(connections)
        with redis_server() as redis, service({"REDIS_URL": redis.url, **environ}) as server:
            target = Target("service", server.url, server.pid)
            ideal = math.ceil(calls / connections) * delay
            score = Load(
                connections=score_connections,
                seconds=math.ceil(2 * ideal),
                pace=score_connections * 1e3 / pace if pace else 0,
                users=1_000,
            )
            await burst(server.port, connections, connections)
            await asyncio.to_thread(measure, target, score)
            for _ in range(rounds):
                quiet.append(await asyncio.to_thread(measure, target, score))
                measuring = asyncio.ensure_future(asyncio.to_thread(measure, target, score))
                while not measuring.done():
                    bursts.append(await burst(server.port, calls, connections))
                busy.append(await measuring)
    return bursts, quiet, busy


def slow_model(
    *,
    calls: int = 200,
    connections: int = 32,
    delay: float = 0.3,
    pace: int = 300,
    score_connections: int = 8,
    rounds: int = 5,
) -> list[Section]:
    """/score alone and while `calls` to /generate over `connections` wait `delay` seconds each for the model."""
    bursts, quiet, busy = asyncio.run(
        compare(
            calls=calls,
            connections=connections,
            delay=delay,
            pace=pace,
            score_connections=score_connections,
            rounds=rounds,
        )
    )
    rows = [
        [
            name,
            f"{statistics.median(run.throughput for run in runs):.0f}",
            spread([run.p50 for run in runs]),
            spread([run.p99 for run in runs]),
        ]
        for name, runs in (("alone", quiet), ("meanwhile", busy))
    ]
    ratio = statistics.median(run.p99 for run in busy) / statistics.median(run.p99 for run in quiet)
    failed = sum(run.bad_status + run.broken for run in quiet + busy)
    return [
        Section(
            "/score while tips are generated",
            f"{calls} calls to /generate over {connections} connections, an answer after {delay * 1e3:.0f} ms, took "
            f"{spread(bursts)} s; calls / connections x delay is {calls / connections * delay:.2f} s; "
            f"p99 meanwhile is {ratio:.2f} of p99 alone",
            ["/score", "requests/s", "p50 ms", "p99 ms"],
            rows,
            [Check("errors: score while tips are generated", failed, 0, "")],
            {"alone": quiet, "meanwhile": busy},
        )
    ]


def main() -> int:
    wanted = _arguments()
    require("redis-server", "wrk")
    return report.tell(machine(), slow_model(**wanted))


if __name__ == "__main__":
    sys.exit(main())
