"""What a policy file means, for a person at a terminal."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from app.bandit import kinds
from app.bandit.columns import TIMES
from app.bandit.features import CONSTANT, Feature
from app.bandit.nested import Nested
from app.bandit.policy import Policy
from app.policies.lint import lint, lint_features, lint_loop
from app.policies.loop import Loop
from app.terminal import plain

__all__ = ["duration", "picture"]

_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))


def picture(
    policies: Mapping[str, Policy],
    loops: Mapping[str, Loop],
    features: Mapping[str, Feature],
    changes: Mapping[str, Sequence[str]],
) -> RenderableType:
    """Policies with their columns, loops, and what the linter says. `changes` says for a policy what it does to models
    that exist."""
    parts: list[RenderableType] = []
    for name, policy in policies.items():
        parts += [*_policy(policy, changes.get(name, ())), ""]
    parts.append(_loops(loops.values()))
    notes = [f"{loop.name}: {text}" for loop in loops.values() for text in lint_loop(loop, policies)]
    notes += lint_features(features, policies.values())
    return Group(*parts, _marked("!", "yellow", notes))


def duration(seconds: int) -> str:
    """The shortest whole number with a unit."""
    size, unit = next((size, unit) for size, unit in _UNITS if seconds % size == 0)
    return f"{seconds // size}{unit}"


def _policy(policy: Policy, changes: Sequence[str]) -> Iterator[RenderableType]:
    title = Text(policy.id, "bold")
    yield title.append(f"  {policy.d} columns, {_habits(policy)}", "not bold")
    table = Table.grid(Column(justify="right"), Column(overflow="fold"), Column(overflow="fold"), padding=(0, 1))
    about = dict(each for feature in policy.encoder.features for each in _about(feature))
    about[CONSTANT] = "always 1"
    for place, label in enumerate(policy.labels, 1):
        made = " * ".join(about[factor] for factor in label.split(TIMES))
        table.add_row(Text(f"  {place}", "dim"), Text(plain(label)), Text(plain(made), "dim"))
    yield table
    yield _marked("→", "cyan", changes)
    yield _marked("!", "yellow", lint(policy))


def _marked(mark: str, style: str, texts: Sequence[str]) -> Table:
    """Sentences behind a mark, indented where they are broken."""
    table = Table.grid(Column(no_wrap=True), Column(overflow="fold"), padding=(0, 1))
    for text in texts:
        table.add_row(Text(f"  {mark}", style), Text(plain(text), style))
    return table


def _habits(policy: Policy) -> str:
    explorer: Any = policy.explorer
    names = {"UpperConfidence": "linucb", "EpsilonGreedy": "epsilon", "Thompson": "thompson", "InverseGap": "igw"}
    settings = [f"{name} {getattr(explorer, name):g}" for name in explorer.__struct_fields__]
    parts = [f"{names[type(explorer).__name__]} ({', '.join(settings)})"]
    if policy.forget < 1.0:
        parts.append(f"forget {policy.forget:g}")
    if policy.population:
        parts.append("prior population")
    if policy.baseline:
        parts.append(f"baseline {policy.baseline:g}")
    return ", ".join(parts)


def _about(feature: Feature) -> Iterator[tuple[str, str]]:
    """What each column of a feature is made of, by its label."""
    field = f"{feature.of}.{feature.field}"
    for label, ending in zip(feature.labels, feature.kind.endings, strict=False):
        match feature.kind:
            case kinds.Number(low=low, high=high, log=log):
                text = f"{'log of ' if log else ''}{field} {low:g}..{high:g}"
            case kinds.Member(values=values):
                text = f"{field} in {', '.join(sorted(_plain(value) for value in values))}"
            case kinds.Cycle(period=period):
                text = f"{'sine' if ending == '_sin' else 'cosine'} of {field}/{period:g}"
            case kinds.Alignment(period=period):
                text = f"{field} near context.{feature.compared}, of {period:g}"
            case kinds.Hash(buckets=buckets) | Nested(buckets=buckets):
                text = f"{field} {ending} of {buckets}"
                text += f", crossed with context.{feature.compared}" if feature.compared else ""
            case kinds.Category():
                text = f"{field} = {ending[1:]}"
            case _:
                text = f"{field}{ending}" if ending.startswith("[") else f"{field} {ending}".strip()
        yield label, text
    if feature.tells_missing:
        yield feature.labels[-1], f"{field} is missing"


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _loops(loops: Any) -> Table:
    table = Table(box=None, pad_edge=False, title_justify="left", title_style="bold", header_style="dim")
    for name in ("loop", "champion", "shadows", "window", "reward", "silence", "late"):
        table.add_column(name, overflow="fold")
    for loop in loops:
        table.add_row(
            Text(loop.name, "bold"),
            loop.champion,
            ", ".join(loop.shadows) or "-",
            duration(loop.window),
            f"{loop.low:g}..{loop.high:g}{' summed' if loop.aggregation == 'sum' else ''}",
            _silence(loop),
            loop.late,
        )
    return table


def _silence(loop: Loop) -> str:
    if loop.default_reward is not None:
        return f"learned as {loop.default_reward:g}"
    return "teaches nothing" if loop.missing is None else f"teaches nothing, counts as {loop.missing:g}"
