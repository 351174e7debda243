"""Sorts the lines of a log in temporary files, so that memory does not grow with the log."""

import heapq
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from app.decision_log.lines import Line, Outcome, decode, encode

__all__ = ["by_decision", "by_seq", "ordered"]

# Bytes of lines that are sorted in memory, and files that are merged at once.
_RUN: Final = 32 * 1024 * 1024
_FILES: Final = 64
Key = tuple[str, str, int, int]


def by_seq(line: Line) -> Key:
    """User by user and epoch by epoch, as it happened."""
    return (line.user, line.epoch, line.seq, line.seq)


def by_decision(line: Line) -> Key:
    """User by user and epoch by epoch, each decision with its outcomes behind it."""
    return (line.user, line.epoch, line.born if isinstance(line, Outcome) else line.seq, line.seq)


def ordered(lines: Iterable[Line], key: Callable[[Line], Key], *, run: int = _RUN) -> Iterator[Line]:
    """The lines in the order of `key`, each user, epoch and seq once. Raises OSError, for example for a full disk."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="oo-log-")))
        names = (folder / f"{number}.jsonl" for number in count())
        runs: list[Path] = []
        kept: list[tuple[Key, bytes]] = []
        size = 0
        for line in lines:
            text = encode(line)
            kept.append((key(line), text))
            size += len(text)
            if size >= run:
                runs.append(_written(next(names), sorted(kept)))
                kept, size = [], 0
            if len(runs) == _FILES:
                merged = _written(next(names), _once(heapq.merge(*(_read(path, key) for path in runs))))
                for path in runs:
                    path.unlink()
                runs = [merged]
        readers = [stack.enter_context(closing(_read(path, key))) for path in runs]
        for _, text in _once(heapq.merge(*readers, sorted(kept))):
            yield decode(text)


def _written(path: Path, kept: Iterable[tuple[Key, bytes]]) -> Path:
    with path.open("wb") as file:
        file.writelines(text + b"\n" for _, text in kept)
    return path


def _read(path: Path, key: Callable[[Line], Key]) -> Generator[tuple[Key, bytes], None, None]:
    with path.open("rb") as file:
        for text in file:
            yield key(decode(text)), text.rstrip(b"\n")


def _once(sorted_lines: Iterable[tuple[Key, bytes]]) -> Iterator[tuple[Key, bytes]]:
    last: Key | None = None
    for key, text in sorted_lines:
        if key != last:
            yield key, text
            last = key
