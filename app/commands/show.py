"""The command `show`: all there is of one user, for a person at a terminal."""

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from app.bandit.policy import Policy
from app.bandit.ridge import Singular, Vector
from app.commands.terminal import FAILED, PATIENCE, connected, plain, wide_console
from app.policies.catalog import policies
from app.settings import Settings
from state import keys
from state.errors import CorruptState
from state.transfer import Page, Transfer
from state.values import history, record
from state.values.stored import Stored

__all__ = ["picture", "show_user"]

_BAR: Final = 16
_ENTRIES: Final = 10


async def show_user(arguments: argparse.Namespace, settings: Settings) -> int:
    """Print what there is of a user; the exit code."""
    rows = policies(settings.alpha, settings.epsilon)
    async with connected(settings) as servers:
        page = await Transfer(servers, patience=PATIENCE).fetch(arguments.user, keys.fixed(rows))
    shown, whole = picture(arguments.user, page, rows)
    wide_console().print(shown)
    return 0 if whole else FAILED


def picture(user_id: str, page: Page, rows: Mapping[str, Policy]) -> tuple[RenderableType, bool]:
    """All there is of a user, and whether there is anything and all of it could be read."""
    parts: list[RenderableType] = [Text(plain(user_id), "bold")]
    problems = [f"{key}: holds a value of another type" for key in page.odd]
    for stored in page.found:
        try:
            parts += ["", *_part(stored, rows)]
        except CorruptState as error:
            problems.append(str(error))
    if not page.found and not problems:
        parts.append("there is nothing of this user")
    parts += [Text(plain(problem), "red") for problem in problems]
    return Group(*parts), bool(page.found) and not problems


def _part(stored: Stored, rows: Mapping[str, Policy]) -> Iterator[RenderableType]:
    key = keys.of(stored.user, stored.kind)
    if isinstance(stored.value, list):
        yield from _history(key, stored.value)
    elif isinstance(stored.value, dict) and stored.kind == keys.SYNC:
        yield from _sync(stored.value)
    elif isinstance(stored.value, dict):
        yield from _model(key, stored.value, rows[stored.kind])


def _model(key: str, fields: Mapping[bytes, bytes], policy: Policy) -> Iterator[RenderableType]:
    found = record.decode(key, policy.d, [fields.get(name) for name in record.FIELDS])
    if found is None:
        raise CorruptState(key, "has none of A, b and meta")
    try:
        theta = policy.estimate(found.a, found.b)
    except Singular as error:
        raise CorruptState(key, str(error)) from None
    meta = found.meta
    explored = f" ({meta.explore_count:,} explored)" if meta.explore_count else ""
    mean = f", {meta.cumulative_reward / meta.reward_count:+.3f} each" if meta.reward_count else ""
    yield Text(policy.id, "bold")
    yield f"  {meta.pulls:,} decisions{explored}, {meta.reward_count:,} rewards{mean}, last {_time(meta.last_updated)}"
    yield _chart(policy.labels, theta)


def _chart(labels: Sequence[str], theta: Vector) -> Table:
    """θ, each number with a bar to the left (negative) or to the right."""
    largest = max(float(np.abs(theta).max()), 1e-12)
    table = Table.grid(padding=(0, 1))
    for label, value in zip(labels, theta.tolist(), strict=True):
        length = round(abs(value) / largest * _BAR)
        left, right = (length, 0) if value < 0 else (0, length)
        bar = Text(" " * (_BAR - left)).append("█" * left, "red").append("│").append("█" * right, "green")
        table.add_row(f"  {label}", Text(f"{value:+.4f}"), bar)
    return table


def _history(key: str, entries: list[bytes]) -> Iterator[RenderableType]:
    last = entries[-_ENTRIES:]
    yield Text(f"history: the last {len(last)} of {len(entries)}", "bold")
    whole, broken = Column(no_wrap=True), Column(overflow="fold")
    table = Table.grid(whole, whole.copy(), broken, whole.copy(), whole.copy(), padding=(0, 1))
    for entry in history.decode(key, last):
        explored = "explored" if entry.exploring else ""
        table.add_row(
            f"  {_time(entry.ts)}", Text(entry.policy), Text(plain(entry.tip_id)), f"{entry.score:+.4f}", explored
        )
    yield table


def _sync(fields: Mapping[bytes, bytes]) -> Iterator[RenderableType]:
    yield Text("last synchronisation", "bold")
    table = Table.grid(Column(overflow="fold"), Column(overflow="fold"), padding=(0, 1))
    for name, value in fields.items():
        shown = (plain(part.decode(errors="replace")) for part in (name, value))
        table.add_row(*(Text(f"  {text[:200]}") for text in shown))
    yield table


def _time(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)) if seconds else "never"
