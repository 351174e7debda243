"""The command `show`: all there is of one user, for a person at a terminal."""

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from app.bandit.ridge import Singular, Vector, theta
from app.policies.catalog import SIZES, policies
from app.settings import Settings
from app.terminal import FAILED, PATIENCE, connected, plain, wide_console
from state import keys, parts
from state.errors import CorruptState
from state.shared import Shared
from state.transfer import Page, Transfer
from state.values import decision, history, record
from state.values.columns import Columns
from state.values.decision import OPEN, Record
from state.values.stored import NAMED, Stored, gathered, is_of_decisions

__all__ = ["chart", "picture", "show_user"]

# Whose models name no columns.
_FIRST: Final = policies()
_BAR: Final = 16
_ENTRIES: Final = 10


async def show_user(arguments: argparse.Namespace, settings: Settings) -> int:
    """Print what there is of a user; the exit code."""
    async with connected(settings) as servers:
        shared = Shared(servers, timeout=PATIENCE)
        kinds = keys.fixed(dict.fromkeys((*SIZES, *await shared.policies())))
        kinds += [keys.SEEN, *parts.every(keys.DECISIONS)]
        page = await Transfer(servers, patience=PATIENCE).fetch(arguments.user, kinds)
        columns = await shared.all_columns()
    shown, whole = picture(arguments.user, page, columns)
    wide_console().print(shown)
    return 0 if whole else FAILED


def picture(user_id: str, page: Page, columns: Mapping[bytes, Columns]) -> tuple[RenderableType, bool]:
    """All there is of a user, whose models name `columns`; and whether there is anything and all could be read."""
    parts: list[RenderableType] = [Text(plain(user_id), "bold")]
    problems = [f"{key}: holds a value of another type" for key in page.odd]
    for stored in gathered(page.found):
        try:
            part = list(_part(stored, columns))
            parts += ["", *part] if part else []
        except CorruptState as error:
            problems.append(str(error))
    if not page.found and not problems:
        parts.append("there is nothing of this user")
    parts += [Text(plain(problem), "red") for problem in problems]
    return Group(*parts), bool(page.found) and not problems


def _part(stored: Stored, columns: Mapping[bytes, Columns]) -> Iterator[RenderableType]:
    key = keys.of(stored.user, stored.kind)
    if isinstance(stored.value, dict) and stored.kind == keys.DECISIONS:
        yield from _decisions(key, stored.value)
    elif is_of_decisions(stored.kind):
        return  # the decisions say it all
    elif isinstance(stored.value, list):
        yield from _history(key, stored.value)
    elif isinstance(stored.value, bytes):
        if stored.value.isdigit():
            yield f"expires {_time(int(stored.value) // 1_000)}, unless the user returns before"
    elif isinstance(stored.value, dict) and stored.kind == keys.SYNC:
        yield from _sync(stored.value)
    elif isinstance(stored.value, dict):
        yield from _model(key, stored, stored.value, columns)


def _model(
    key: str, stored: Stored, fields: Mapping[bytes, bytes], columns: Mapping[bytes, Columns]
) -> Iterator[RenderableType]:
    named = fields.get(NAMED)
    if named is not None and named not in columns:
        raise CorruptState(key, f"names unknown columns: {named!r}")
    labels = _FIRST[stored.kind].labels if named is None else columns[named].labels
    found = record.decode(key, len(labels), [fields.get(name) for name in record.FIELDS])
    if found is None:
        raise CorruptState(key, "has none of A, b and meta")
    try:
        estimate = theta(found.a, found.b)
    except Singular as error:
        raise CorruptState(key, str(error)) from None
    meta = found.meta
    explored = f" ({meta.explore_count:,} explored)" if meta.explore_count else ""
    mean = f", {meta.cumulative_reward / meta.reward_count:+.3f} each" if meta.reward_count else ""
    yield Text(stored.kind, "bold")
    yield f"  {meta.pulls:,} decisions{explored}, {meta.reward_count:,} rewards{mean}, last {_time(meta.last_updated)}"
    yield chart(labels, estimate)


def chart(labels: Sequence[str], theta: Vector) -> Table:
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


def _decisions(key: str, fields: Mapping[bytes, bytes]) -> Iterator[RenderableType]:
    """The decisions in the hash `key`, oldest first. Raises CorruptState."""
    found = []
    for name, blob in fields.items():
        local = name.decode(errors="replace")
        found.append((local, decision.decode(f"{key} {local}", blob)))
    found.sort(key=lambda pair: (pair[1].decided, pair[1].born))
    waiting = [pair for pair in found if pair[1].status in OPEN]
    settled = [pair for pair in found if pair[1].status not in OPEN]
    for title, which in (("open decisions", waiting), ("decisions with an outcome", settled)):
        if which:
            last = which[-_ENTRIES:]
            yield Text(f"{title}: the last {len(last)} of {len(which)}", "bold")
            yield _made(last)


def _made(made: list[tuple[str, Record]]) -> Table:
    whole, broken = Column(no_wrap=True), Column(overflow="fold")
    table = Table.grid(whole, broken, whole.copy(), broken.copy(), *(whole.copy() for _ in range(3)), padding=(0, 1))
    for local, one in made:
        reward = one.reward if one.held is None else one.held
        table.add_row(
            f"  {_time(one.decided // 1_000)}",
            Text(plain(local)),
            Text(plain(one.loop)),
            Text(plain(one.ids[one.chosen])),
            f"{one.propensities[one.chosen]:.3f}",
            one.status,
            "" if reward is None else f"{reward:+.4f}",
        )
    return table


def _sync(fields: Mapping[bytes, bytes]) -> Iterator[RenderableType]:
    yield Text("last synchronisation", "bold")
    table = Table.grid(Column(overflow="fold"), Column(overflow="fold"), padding=(0, 1))
    for name, value in fields.items():
        shown = (plain(part.decode(errors="replace")) for part in (name, value))
        table.add_row(*(Text(f"  {text[:200]}") for text in shown))
    yield table


def _time(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)) if seconds else "never"
