"""Batches of decisions and rewards beside single ones and the floor, and single requests beside batches."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

from bench.decisions import DecidedUsers, Mode
from bench.measure import Load, Run, Target, again, measure
from bench.report import HEADER, Check, Section, failures, known, medians, spread
from bench.servers import kept_redis, serving, the_floor

__all__ = ["beside_singles"]

_POLICIES: Final = """
[loops.plain]
champion = "egreedy-v1"
window = "1d"
"""
_AT_ONCE: Final = 100
# Each work alone and in batches.
_WORKS: Final = {
    "plain": (
        Mode("decision, one policy", "decide", 1, 5_000, 40, loop="plain"),
        Mode("in batches of 100", "decides", 1, 5_000, 40, loop="plain", at_once=_AT_ONCE),
    ),
    "tips": (
        Mode("decision, three shadows", "decide", 1, 5_000, 40),
        Mode("in batches of 100", "decides", 1, 5_000, 40, at_once=_AT_ONCE),
    ),
    "told": (
        Mode("reward by id, four policies", "outcome", 32, 2_000, 31),
        Mode("in batches of 100", "outcomes", 32, 2_000, 31, at_once=_AT_ONCE),
    ),
}
# Of batches, where their cost is measured: as many requests are in hand then as with 32 single ones, and more.
_CONNECTIONS: Final = 4
_OF_FLOOR: Final = 0.5
_OF_SINGLE: Final = 0.6
_P99: Final = 2.0
_BATCHES_AHEAD: Final = 1  # seconds longer than the single requests beside them


@contextmanager
def _targets() -> Iterator[tuple[Target, Target, dict[str, tuple[DecidedUsers, DecidedUsers]]]]:
    """The floor, the service, and the users of each work."""
    with TemporaryDirectory() as directory, kept_redis() as server, the_floor(server) as floor:
        file = Path(directory) / "policies.toml"
        file.write_text(_POLICIES)
        with serving(server, POLICIES=str(file)) as served, server.client() as client:
            users = {
                name: (
                    DecidedUsers(server, client, served, name, alone),
                    DecidedUsers(server, client, served, f"{name}s", together),
                )
                for name, (alone, together) in _WORKS.items()
            }
            yield floor, served, users


def beside_singles(rounds: int, load: Load) -> list[Section]:
    """Each work alone and in batches in turn, beside the floor; then scores alone and beside batches."""
    runs: dict[str, list[tuple[Run, Run, Run]]] = {name: [] for name in _WORKS}
    scores: list[tuple[Run, Run, Run]] = []
    with _targets() as (floor, served, users):
        for pair in users.values():
            for each in pair:
                each.run(served, again(load, seconds=1, connections=_CONNECTIONS))
        measure(floor, again(load, seconds=1))
        for number in range(rounds):
            seeded = again(load, seed=number * 1_000_003)
            for name, (alone, together) in users.items():
                base = measure(floor, seeded)
                single = alone.run(served, seeded)[0]
                runs[name].append((base, single, together.run(served, again(seeded, connections=_CONNECTIONS))[0]))
            scores.append(_crowded(served, users["plain"][1], seeded))
    return [_costs(runs), _waits(scores)]


def _crowded(served: Target, batches: DecidedUsers, load: Load) -> tuple[Run, Run, Run]:
    """Scores alone, scores beside batches, and these batches."""
    alone = measure(served, load)
    with ThreadPoolExecutor(1) as pool:
        beside = pool.submit(batches.run, served, again(load, seconds=load.seconds + _BATCHES_AHEAD))
        crowded = measure(served, load)
        return alone, crowded, beside.result()[0]


def _costs(runs: dict[str, list[tuple[Run, Run, Run]]]) -> Section:
    """Processor time per decision or reward."""
    rows, checks = [], []
    for name, each in runs.items():
        alone, together = (mode.work for mode in _WORKS[name])
        single = [known(run, "cpu") for _, run, _ in each]
        batched = [known(run, "cpu") / _AT_ONCE for _, _, run in each]
        floor = [known(base, "cpu") for base, _, _ in each]
        redis_single = [known(run, "redis_cpu") for _, run, _ in each]
        redis_batched = [known(run, "redis_cpu") / _AT_ONCE for _, _, run in each]
        of_floor = [mine / its for mine, its in zip(batched, floor, strict=True)]
        of_single = [mine / its for mine, its in zip(batched, single, strict=True)]
        single_of_floor = [mine / its for mine, its in zip(single, floor, strict=True)]
        rows.append([alone, f"{median(single):.1f}", f"{median(redis_single):.1f}", spread(single_of_floor), "1"])
        rows.append(
            [
                f"{alone}, {together}",
                f"{median(batched):.1f}",
                f"{median(redis_batched):.1f}",
                spread(of_floor),
                spread(of_single),
            ]
        )
        work = f"{alone}, {together}"
        checks.append(Check(f"CPU: {work}", median(of_floor), _OF_FLOOR, "of floor"))
        checks.append(Check(f"CPU: {work}", median(of_single), _OF_SINGLE, "of a single one"))
        checks.append(Check(f"errors: {work}", float(failures([run for pair in each for run in pair[1:]])), 0, ""))
    how = "Per decision or reward: median of the ratios to the runs beside it (least to most)"
    header = ["", "CPU µs", "Redis CPU µs", "CPU, of floor", "CPU, of a single one"]
    return Section("Batches", how, header, rows, checks)


def _waits(scores: Sequence[tuple[Run, Run, Run]]) -> Section:
    """What batches do to the requests beside them."""
    alone, crowded, batches = ([each[place] for each in scores] for place in range(3))
    later = [with_them.p99 / without.p99 for without, with_them in zip(alone, crowded, strict=True)]
    rows = [
        medians("scores alone", alone),
        medians("scores beside batches", crowded),
        medians("these batches, per batch", batches),
    ]
    checks = [
        Check("p99 of scores beside batches", median(later), _P99, "of it alone"),
        Check("errors beside batches", float(failures([*crowded, *batches])), 0, ""),
    ]
    how = f"32 connections each; p99 of scores beside batches, of it alone: {spread(later)}; processor time is of both"
    return Section("Single requests beside batches", how, HEADER, rows, checks)
