"""`./dev chaos`: break a system under load for a while, let it heal, and count what was acknowledged."""

import argparse
import logging
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from redis import Redis, RedisCluster
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from state import keys, parts
from state.values import decision, history
from tests.system.chaos.clients import USERS, Clients
from tests.system.chaos.commands import settle
from tests.system.chaos.faults import Fault, strike_process
from tests.system.chaos.judge import Verdict, judge
from tests.system.chaos.ledger import Holding, Kept, Slot
from tests.system.chaos.log.judge import told
from tests.system.chaos.log.places import PLACES, LogPlace
from tests.system.chaos.loops import SIZES
from tests.system.chaos.moving import try_moving
from tests.system.chaos.stages import STAGES, Stage

_DRAIN_SECONDS: Final = 120.0
_TURN: Final = 0.05
# Where the log is unless that is asked for.
_LOGS: Final = {"standalone": "files", "sentinel": "stream", "cluster": "files"}


def main(words: Sequence[str] | None = None) -> int:
    """Run it once on each system named; 1 if any update was lost, doubled or never acknowledged."""
    parser = argparse.ArgumentParser(prog="./dev chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long to break things (60)")
    parser.add_argument("--seed", type=int, default=1, help="what is done to whom, and what is sent (1)")
    parser.add_argument(
        "--on",
        choices=[*STAGES, "moving", "all"],
        default="standalone",
        help="kind of Redis, or the move of a backup from one to another (standalone)",
    )
    parser.add_argument(
        "--log", choices=PLACES, help="where the log of decisions is kept (files; on sentinel a stream in JetStream)"
    )
    asked = parser.parse_args(words)
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # it warns of sending to clients who hung up, as many do here
    console = Console(highlight=False, soft_wrap=True)
    names = [*STAGES, "moving"] if asked.on == "all" else [asked.on]
    right = [
        move(asked.seconds, asked.seed, console)
        if name == "moving"
        else run(name, asked.log or _LOGS[name], asked.seconds, asked.seed, console)
        for name in names
    ]
    return 0 if all(right) else 1


def move(seconds: float, seed: int, console: Console) -> bool:
    """Exports under load and restores, with thirty rewards or decisions per second asked for; whether all was right."""
    right = True
    with tempfile.TemporaryDirectory() as directory:
        for kind in ("standalone", "cluster"):
            tried = try_moving(kind, Path(directory) / kind, seed=seed, rewards=int(30 * seconds), hold=holding)
            for name, verdict in tried:
                for finding in verdict.findings[:50]:
                    console.print(f"  {finding}", markup=False)
                console.print(f"moving, {kind}, seed {seed}, {name}: {verdict}")
                right &= verdict.right
    return right


def run(name: str, kept: str, seconds: float, seed: int, console: Console) -> bool:
    """One run on one kind of system with the log in a kind of place; whether all was right."""
    console.rule(f"{name}, the log in {kept}, seed {seed}, {seconds:g} s")
    with PLACES[kept]() as log, STAGES[name](log) as stage, Clients(stage.port, seed=seed) as clients:
        with Progress(
            TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), console=console, transient=True
        ) as progress:
            done = _break(stage, log, clients, random.Random(seed), seconds, progress)
        clients.drained(_DRAIN_SECONDS)
        with stage.read() as reader:
            settle(stage.url, reader, USERS, **log.settings)
            for made in clients.ledger.decisions.values():
                # What waits in the other loops still waits.
                if made.loop.default is not None:
                    made.close()
            verdict = judge(clients.ledger, holding(reader))
        for process in stage.processes:
            process.stop()
        verdict.add(told(stage.url, log, clients.ledger.decisions.values(), USERS))
        if not verdict.right:
            for number, process in enumerate(stage.processes, 1):
                console.print(f"the log of service {number} ends with:\n{process.log[-2000:]}", markup=False)
    _say(name, seconds, seed, clients, verdict, done, console)
    return verdict.right


def _break(
    stage: Stage, log: LogPlace, clients: Clients, draw: random.Random, seconds: float, progress: Progress
) -> int:
    """Begin and end faults, on several parts at once; all have ended when it returns. The number of them."""
    started = time.monotonic()
    bar = progress.add_task("", total=seconds)
    under_way: dict[str, tuple[float, Fault]] = {}
    count = 0
    next_redis, next_network, next_log, next_process = 1.0, 1.5, 2.0, 2.5

    def at() -> float:
        return time.monotonic() - started

    def begin(part: str, fault: Fault) -> None:
        nonlocal count
        count += 1
        lasting = f", {fault.seconds:.1f} s" if fault.seconds else ""
        progress.console.print(f"{at():7.1f} s  {fault.whom}: {fault.what}{lasting}", markup=False)
        fault.begin()
        if fault.seconds:
            under_way[part] = at() + fault.seconds, fault

    while at() < seconds:
        for part, (until_, fault) in list(under_way.items()):
            if at() >= until_:
                fault.end()
                del under_way[part]
        if at() >= next_redis and "redis" not in under_way and stage.in_sync():
            begin("redis", stage.strike_redis(draw))
            next_redis = at() + draw.uniform(2.0, 6.0)
        if stage.strike_network and at() >= next_network:
            fault = stage.strike_network(draw)
            if fault.whom not in under_way:
                begin(fault.whom, fault)
            next_network = at() + draw.uniform(0.5, 2.5)
        if at() >= next_log and "log" not in under_way:
            begin("log", log.strike(draw))
            next_log = at() + draw.uniform(2.0, 8.0)
        if at() >= next_process:
            whole = [number for number in range(len(stage.processes)) if f"service {number + 1}" not in under_way]
            if len(whole) > 1:  # one serves, so that there is load
                number = draw.choice(whole)
                begin(f"service {number + 1}", strike_process(draw, number + 1, stage.processes[number]))
            next_process = at() + draw.uniform(0.5, 4.0)
        _show(progress, bar, clients, at())
        time.sleep(_TURN)
    clients.stop()
    for _, fault in under_way.values():
        fault.end()
    return count


def _show(progress: Progress, bar: TaskID, clients: Clients, now: float) -> None:
    rewards, decisions = len(clients.ledger.acknowledged), len(clients.ledger.decisions)
    said = f"{rewards:,} rewards and {decisions:,} decisions acknowledged, {clients.attempts:,} requests sent"
    progress.update(bar, completed=now, description=said)


def holding(reader: "Redis | RedisCluster", users: Sequence[str] = USERS) -> Holding:
    """All that Redis holds of the users, read without the service."""
    models: dict[Slot, Any] = {}
    for slot in (Slot(user, policy) for user in users for policy in SIZES):
        blobs: Any = reader.hmget(keys.record(*slot), ["A", "b", "meta"])
        if any(blobs):
            models[slot] = tuple(blobs)
    histories, decisions, counted = {}, {}, {}
    for user in users:
        key = keys.history(user)
        entries: Any = reader.lrange(key, 0, -1)
        past = history.decode(key, entries)
        histories[user] = [(entry.tip_id, entry.policy, bool(entry.exploring)) for entry in past]
        key = keys.decisions(user)
        blobs = {}
        for name in (key, *parts.every(key)):
            blobs |= reader.hgetall(name)
        kept = {name.decode(): decision.decode(key, blob) for name, blob in blobs.items()}
        decisions[user] = {name: Kept(one.status, one.reward, one.n) for name, one in kept.items()}
        is_open, there = (int(count or 0) for count in reader.hmget(keys.shared(user), ["open", "records"]))
        counted[user] = is_open, there
    markers = {name.decode() for name in reader.scan_iter(match="oo:{*}:*:once:*", count=1_000)}
    return Holding(models, histories, markers, decisions, counted)


def _say(
    name: str, seconds: float, seed: int, clients: Clients, verdict: Verdict, faults: int, console: Console
) -> None:
    ledger = clients.ledger
    for finding in verdict.findings[:50]:
        console.print(f"  {finding}", markup=False)
    console.print(
        f"{faults} faults; {clients.attempts:,} requests for {len(ledger.rewards):,} rewards and "
        f"{len(ledger.answered):,} scores, {clients.replayed:,} rewards answered as repeats; "
        f"the longest wait for an acknowledgement was {clients.slowest:.1f} s"
    )
    console.print("by id: " + ", ".join(f"{count:,} {what}" for what, count in sorted(ledger.told.items())))
    console.print(
        f"{name}, seed {seed}, {seconds:g} s: {len(ledger.acknowledged):,} rewards, {len(ledger.answered):,} scores "
        f"and {len(ledger.decisions):,} decisions acknowledged; {verdict}"
    )


if __name__ == "__main__":
    sys.exit(main())
