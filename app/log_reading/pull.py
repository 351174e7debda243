"""Copies the stream of the log to files of lines, from which everything else is made."""

from collections.abc import Callable
from pathlib import Path

import msgspec

from app.decision_log.files import Files
from app.decision_log.jetstream import Stream
from app.log_reading.aside import alone, put

__all__ = ["pull"]

_NOTE = "pulled.json"
_AT_ONCE = 1_000


class _Note(msgspec.Struct):
    """The number of the last message that was copied."""

    after: int = 0


async def pull(stream: Stream, directory: Path, progress: Callable[[int], object]) -> tuple[int, int]:
    """Copy what is new; how many lines there were, and how many messages were dropped before they were copied.

    `progress` gets the number of lines now and then. It may be stopped and started again at any moment: readers take a
    line once that was copied twice. Raises PlaceError and OSError.
    """
    files = Files(directory)
    with alone(directory):
        after, count = _noted(directory), 0
        first = await stream.first()
        lost = max(first - after - 1, 0) if after else 0
        waiting: list[bytes] = []

        def keep() -> None:
            files.append(waiting)
            files.sync()
            put(directory / _NOTE, msgspec.json.encode(_Note(after)))
            progress(len(waiting))
            waiting.clear()

        try:
            async for message in stream.read(after):
                after = message.number
                waiting += message.lines
                count += len(message.lines)
                if len(waiting) >= _AT_ONCE:
                    keep()
            keep()
        finally:
            files.close()
    return count, lost


def _noted(directory: Path) -> int:
    try:
        return msgspec.json.decode((directory / _NOTE).read_bytes(), type=_Note).after
    except (FileNotFoundError, msgspec.DecodeError):
        return 0  # everything is copied again
