"""What a measurement came to: a table for people, checks against limits, and the same as data."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Final

import msgspec

from bench.measure import Run

__all__ = [
    "HEADER",
    "Check",
    "Section",
    "failures",
    "known",
    "markdown",
    "medians",
    "met",
    "show",
    "spread",
    "tell",
    "verdicts",
    "words",
]

HEADER: Final = ["", "CPU µs", "Redis CPU µs", "requests/s", "p50 ms", "p99 ms", "memory MB", "errors"]


class Check(msgspec.Struct, frozen=True):
    """One promise: what was measured and the most it may be."""

    work: str
    measured: float
    limit: float
    unit: str

    @property
    def met(self) -> bool:
        return self.measured <= self.limit


class Section(msgspec.Struct, frozen=True):
    """One table, the sentence that says how it was measured, what it promises, and the single runs for programs."""

    title: str
    how: str
    header: list[str]
    rows: list[list[str]]
    checks: list[Check] = []
    runs: dict[str, list[Run]] = {}


def spread(values: Sequence[float], digits: int = 2) -> str:
    """`median (least to most)`."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    median = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    return f"{median:.{digits}f} ({ordered[0]:.{digits}f} to {ordered[-1]:.{digits}f})"


def failures(runs: Sequence[Run]) -> str:
    """How many requests of the runs failed."""
    return str(sum(run.bad_status + run.broken for run in runs))


def medians(name: str, runs: Sequence[Run]) -> list[str]:
    """A row under HEADER."""

    def middle(values: Sequence[float | None], digits: int) -> str:
        known = [value for value in values if value is not None]
        return f"{median(known):,.{digits}f}" if known else "?"

    return [
        name,
        middle([run.cpu for run in runs], 1),
        middle([run.redis_cpu for run in runs], 1),
        middle([run.throughput for run in runs], 0),
        middle([run.p50 for run in runs], 2),
        middle([run.p99 for run in runs], 2),
        middle([run.memory for run in runs], 0),
        failures(runs),
    ]


def known(run: Run, name: str) -> float:
    """A figure of a run. Exits if the process that it is about is unknown."""
    value = getattr(run, name)
    if value is None:
        raise SystemExit(f"{name} is unknown")
    return float(value)


def verdicts(sections: Sequence[Section]) -> Section:
    """All checks as a table."""
    checks = [check for section in sections for check in section.checks]
    rows = [
        [each.work, f"{each.measured:.2f} {each.unit}", f"{each.limit:g} {each.unit}", "met" if each.met else "MISSED"]
        for each in checks
    ]
    return Section("Measured and promised", "", ["work", "measured", "at most", ""], rows)


def met(sections: Sequence[Section]) -> bool:
    return all(check.met for section in sections for check in section.checks)


def words(machine: Mapping[str, str]) -> str:
    """The machine in one line."""
    return ", ".join(f"{name} {value}" for name, value in machine.items())


def tell(machine: Mapping[str, str], sections: Iterable[Section]) -> int:
    """Print each section as soon as it is there, then all checks; 1 if a promise was missed."""
    print(words(machine))
    told = []
    for section in sections:
        show(section)
        told.append(section)
    checked = verdicts(told)
    if checked.rows:
        show(checked)
    return 0 if met(told) else 1


def show(section: Section) -> None:
    """Print a section as aligned columns, every row one line."""
    lines = [section.header, *section.rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(section.header))]
    print(f"\n{section.title}")
    for line in lines:
        first, *others = (cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        print("  " + "   ".join([first.lstrip().ljust(widths[0]), *others]).rstrip())
    if section.how:
        print(f"  ({section.how})")


def markdown(section: Section) -> str:
    """The section as Markdown, to paste into a document."""
    lines = [f"**{section.title}.** {section.how}".strip(), "", "| " + " | ".join(section.header) + " |"]
    lines.append("| --- |" + " ---: |" * (len(section.header) - 1))
    lines += ["| " + " | ".join(row) + " |" for row in section.rows]
    return "\n".join(lines) + "\n"
