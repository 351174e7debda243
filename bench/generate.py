"""Do slow language models hold up the rest? 200 POST /generate over 32 connections while /score goes on.

  .venv/bin/python -m bench.generate                a stand-in for the LLM proxy that answers after 300 ms
  .venv/bin/python -m bench.generate --rounds 10    quiet and busy spells in turn, medians are shown

The service runs against a Redis of its own. /score comes from wrk at a steady pace, first alone, then while the calls
to /generate run; both spells are equally long, so that their 99th percentiles can be compared.
"""

import argparse
import asyncio
import json
import math
import statistics
import time

from bench.measure import Load, Run, Target, machine, measure
from tests.servers import redis_server, service
from tests.standin import Asked, completion, http, stand_in

TIPS = json.dumps([{"id": str(index), "content": "Take a walk before lunch."} for index in range(3)])
TASKS = [{"title": f"Task {index}", "priority": 2, "age_days": index} for index in range(10)]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=200, help="to /generate in a burst (200)")
    parser.add_argument("--connections", type=int, default=32, help="they come over, and LLM_MAX_CONCURRENCY (32)")
    parser.add_argument("--delay", type=float, default=0.3, help="seconds until the stand-in answers (0.3)")
    parser.add_argument("--pace", type=int, default=300, help="/score requests per second, 0 for all it can (300)")
    parser.add_argument("--score-connections", type=int, default=8, help="/score comes over (8)")
    parser.add_argument("--rounds", type=int, default=5, help="quiet and busy spells (5)")
    return parser.parse_args()


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


async def compare(options: argparse.Namespace) -> tuple[list[float], list[Run], list[Run]]:
    """Per round: the seconds of a burst, /score alone, /score while bursts follow each other."""

    async def slow(_: Asked) -> bytes:
        await asyncio.sleep(options.delay)
        return http(completion(TIPS))

    bursts: list[float] = []
    quiet: list[Run] = []
    busy: list[Run] = []
    async with stand_in(slow) as llm:
        environ = {"LITELLM_URL": llm.url, "LITELLM_MASTER_KEY": "sk-bench", "LOG_LEVEL": "warning"}
        environ["LLM_MAX_CONCURRENCY"] = str(options.connections)
        with redis_server() as redis, service({"REDIS_URL": redis.url, **environ}) as server:
            target = Target("service", server.url, server.pid)
            ideal = math.ceil(options.calls / options.connections) * options.delay
            score = Load(
                connections=options.score_connections,
                seconds=math.ceil(2 * ideal),
                pace=options.score_connections * 1e3 / options.pace if options.pace else 0,
                users=1_000,
            )
            await burst(server.port, options.connections, options.connections)
            await asyncio.to_thread(measure, target, score)
            for _ in range(options.rounds):
                quiet.append(await asyncio.to_thread(measure, target, score))
                measuring = asyncio.ensure_future(asyncio.to_thread(measure, target, score))
                while not measuring.done():
                    bursts.append(await burst(server.port, options.calls, options.connections))
                busy.append(await measuring)
    return bursts, quiet, busy


def main() -> None:
    options = _arguments()
    print(", ".join(f"{name} {value}" for name, value in machine().items()))
    bursts, quiet, busy = asyncio.run(compare(options))
    failed = sum(run.bad_status + run.broken for run in quiet + busy)
    ideal = options.calls / options.connections * options.delay
    print(
        f"{options.calls} calls over {options.connections} connections, an answer after {options.delay * 1e3:.0f} ms: "
        f"{statistics.median(bursts):.2f} s (best {min(bursts):.2f}, worst {max(bursts):.2f}); "
        f"calls / connections x delay is {ideal:.2f} s"
    )
    for name, runs in (("alone", quiet), ("meanwhile", busy)):
        rate, p50, p99 = (
            statistics.median(getattr(run, field) for run in runs) for field in ("throughput", "p50", "p99")
        )
        p99s = " ".join(f"{run.p99:.2f}" for run in runs)
        print(f"/score {name}: {rate:.0f} per second, p50 {p50:.2f} ms, p99 {p99:.2f} ms ({p99s})")
    ratio = statistics.median(run.p99 for run in busy) / statistics.median(run.p99 for run in quiet)
    print(f"p99 meanwhile is {ratio:.2f} x p99 alone; {failed} requests failed")


if __name__ == "__main__":
    main()
