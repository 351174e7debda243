"""Copies new lines of a log to files of one kind and one hour each."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Final, Self

from app.decision_log.files import line_files
from app.decision_log.lines import Decision, Outcome, State
from app.log_reading.parts import folder_of
from app.log_reading.reading import Complain, Placed, file_lines

__all__ = ["split"]

_OPEN_FILES: Final = 64
_KIND: Final = {Decision: "decisions", Outcome: "outcomes", State: "states"}


def split(
    directory: Path, aside: Path, before: Mapping[str, tuple[int, int]], complain: Complain
) -> Iterator[tuple[str, tuple[int, int]]]:
    """Copy lines after the places `before` to files below `aside`, such as `decisions/date=2026-11-28/hour=09.jsonl`.

    Gives the place in each file before the first line and after each: the offset, and the number of lines before it.
    """
    with _Split(aside) as files:
        for path in line_files(directory):
            offset, number = before.get(path.name, (0, 0))
            yield path.name, (offset, number)
            try:
                with path.open("rb") as file:
                    for placed in file_lines(file, str(path), complain, offset=offset, number=number):
                        files.add(placed)
                        yield path.name, (placed.end, placed.number)
            except FileNotFoundError:
                continue  # it was too old, and its process has removed it


class _Split:
    """Files of lines for each kind and hour, of which only some are open."""

    def __init__(self, aside: Path) -> None:
        self._aside = aside
        self._open: OrderedDict[str, BinaryIO] = OrderedDict()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._open:
            self._open.popitem()[1].close()

    def add(self, placed: Placed) -> None:
        line = placed.line
        # In the hour of its decision, so that a join of both reads one hour.
        ts = line.decided if isinstance(line, Outcome) and line.decided else line.ts
        folder = folder_of(_KIND[type(line)], ts)
        file = self._open.pop(folder, None)
        if file is None:
            if len(self._open) == _OPEN_FILES:
                self._open.popitem(last=False)[1].close()
            path = self._aside / f"{folder}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("ab")
        self._open[folder] = file
        file.write(placed.text + b"\n")
