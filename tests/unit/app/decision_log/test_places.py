"""Files and the stream as a publisher writes to them."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import nats.errors
import pytest

from app.decision_log.files import line_files
from app.decision_log.place import PlaceError
from app.decision_log.places import Folder, Streamed

pytestmark = pytest.mark.anyio


async def test_files(tmp_path: Path) -> None:
    """Lines are there when `write` returns, and too old files go."""
    old = tmp_path / "lines" / "2020-01-01T00_host_000001.jsonl"
    old.parent.mkdir()
    old.write_bytes(b"{}\n")
    place = Folder(tmp_path, days=7)
    await place.write([("tips", b"one"), ("", b"two")])
    await place.write([("tips", b"three")])
    await place.close()
    assert [path.read_bytes() for path in line_files(tmp_path)] == [b"one\ntwo\nthree\n"]


async def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    """It is named."""
    with pytest.raises(PlaceError, match=r"no.lines: No such file"):
        await Folder(tmp_path / "no").write([("tips", b"one")])


async def test_a_write_that_is_cancelled_ends_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No two writes are at work at once."""
    place, begun, go = Folder(tmp_path), threading.Event(), threading.Event()
    write = place._write

    def slow(lines: Any) -> None:
        begun.set()
        go.wait()
        write(lines)

    monkeypatch.setattr(place, "_write", slow)
    task = asyncio.create_task(place.write([("tips", b"one")]))
    await asyncio.to_thread(begun.wait)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [path.read_bytes() for path in line_files(tmp_path)] == [b"one\n"]


async def test_a_stream_is_connected_anew() -> None:
    """After each failure, which names what is wrong."""
    tried = []

    async def connect() -> Any:
        tried.append(1)
        raise nats.errors.NoServersError

    place = Streamed(connect)
    for _ in range(2):
        with pytest.raises(PlaceError, match="NATS cannot be reached: NoServersError"):
            await place.write([("tips", b"one")])
    assert len(tried) == 2
    await place.close()
