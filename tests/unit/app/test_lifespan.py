"""What is started and stopped with the process, and what is logged at its start."""

import asyncio
import gc
import logging
import signal
from typing import Any

import pytest

from app.decisions.settle import Settled
from app.http.api_keys import make_key
from app.lifespan import Background, Parts, SharedState, wait_replicas_of
from app.settings import Secret, Settings
from state.errors import CorruptState, StoreUnavailable

pytestmark = pytest.mark.anyio

LINE = make_key("a", "admin")[1]


class Part:
    """Any part: it notes what is called; Redis is away for the first `failures` calls."""

    def __init__(self, failures: int = 0) -> None:
        self.calls: list[str] = []
        self.failures = failures
        self.changed = asyncio.Event()

    def note(self, name: str) -> None:
        self.calls.append(name)

    async def note_index(self) -> None:
        self.note("index")
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("away")

    def warn_if_locked(self) -> None:
        self.note("locked?")

    def read_again(self) -> None:
        self.note("read")

    def on_sigterm(self) -> None:
        self.note("sigterm")

    def seconds_left(self) -> float:
        return 7.0

    async def run(self) -> None:
        self.note("publish")

    def start(self) -> None:
        self.note("start")

    async def stop(self, seconds: float) -> None:
        self.note(f"stop {seconds:g}")

    async def aclose(self) -> None:
        self.note("aclose")

    async def close(self) -> None:
        self.note("close")

    def settle(self) -> None:
        self.note("counted")

    async def note_idle(self) -> None:
        self.note("idle")

    async def keep(self) -> None:
        self.note("keep")

    async def some(self, most: int) -> Settled:
        self.note(f"settle {most}")
        if self.calls.count(f"settle {most}") == 1:
            raise StoreUnavailable("away")
        if self.calls.count(f"settle {most}") == 2:
            raise RuntimeError("a defect")
        return Settled(failed=["oo:{ann}:d one: is not a decision"])

    async def keep_settled(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.note("settled")


async def turns() -> None:
    """Let everything run that can."""
    for _ in range(50):
        await asyncio.sleep(0)


def background(part: Any) -> Background:
    return Background(part, part, part, part, part)


async def run(part: Any, **settings: Any) -> None:
    """Start and stop; the garbage collector's settings are put back."""
    threshold = gc.get_threshold()
    parts = Parts(Settings(**settings), part, part, background(part), part, part, part, part, part, part, None)
    try:
        async with parts.lifespan(part):
            for _ in range(5):
                await asyncio.sleep(0)
    finally:
        gc.unfreeze()
        gc.set_threshold(*threshold)
    await asyncio.sleep(0)


async def test_parts_start_and_stop_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events first, then calls to the language model, then the store, and the last counts are handed on; what runs in
    the background is cancelled. Redis is asked again for its index until it answers."""
    monkeypatch.setattr("app.lifespan._NOTE_SECONDS", 0)
    part = Part(failures=1)
    await run(part)
    part.calls.remove("settled")
    assert part.calls == [
        "locked?",
        "sigterm",
        "start",
        "index",
        "keep",
        "keep",
        "keep",
        "publish",
        "index",
        "idle",
        "stop 7",
        "aclose",
        "stop 3",
        "close",
        "counted",
    ]


@pytest.mark.parametrize("policies", ["", "file"])
async def test_files_are_read_again_on_hangup(policies: str) -> None:
    """That of the policies if there is one."""
    part: Any = Part()
    threshold = gc.get_threshold()
    parts = Parts(Settings(policies=policies), part, part, background(part), part, part, part, part, part, part, None)
    async with parts.lifespan(part):
        await asyncio.sleep(0)
        signal.raise_signal(signal.SIGHUP)
        await turns()
        assert part.calls.count("read") == (2 if policies else 1)
    gc.unfreeze()
    gc.set_threshold(*threshold)


async def test_settling_ends_nothing(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """It comes again after an outage, which the store logs, and after a defect; and says who cannot be settled."""
    monkeypatch.setattr("app.lifespan._SETTLE_SECONDS", 0)
    part = Part()
    await run(part)
    assert part.calls.count("settle 100") > 2
    assert "settling failed" in caplog.text
    assert "decisions cannot be settled: oo:{ann}:d one: is not a decision" in caplog.text
    assert "away" not in caplog.text
    assert "close" in part.calls


@pytest.mark.parametrize(
    ("settings", "said", "unsaid"),
    [
        ({}, ["REDIS_URL is memory://", "API_KEYS is empty"], "RATE_LIMIT"),
        ({"rate_limit_per_second": 5}, ["RATE_LIMIT_PER_SECOND has no effect"], "Redis: "),
        (
            {"api_keys": Secret(make_key("a", "admin")[1]), "rate_limit_per_second": 5},
            ["memory://"],
            "API_KEYS is empty",
        ),
    ],
)
async def test_risks_are_told(
    settings: dict[str, Any], said: list[str], unsaid: str, caplog: pytest.LogCaptureFixture
) -> None:
    """State that is lost, an open service, a limit without effect; and nothing else."""
    caplog.set_level(logging.INFO)
    await run(Part(), **settings)
    assert all(text in caplog.text for text in said)
    assert unsaid not in caplog.text


async def test_advice_ends_nothing(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever goes wrong with it is logged. Where Redis is, is logged without its password."""

    async def advise(*_: Any, **__: Any) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr("app.lifespan.advise", advise)
    caplog.set_level(logging.INFO)
    part = Part()
    await run(part, redis_url=Secret("redis://me:hunter2@localhost:1234"))
    assert "cannot ask Redis how it is configured" in caplog.text
    assert "localhost:1234" in caplog.text
    assert "hunter2" not in caplog.text
    assert "close" in part.calls


class Keeper:
    """Models and priors: they note each call, and raise what comes next, of which the last ends the test."""

    def __init__(self, *ends: BaseException | None) -> None:
        self.calls: list[object] = []
        self.ends = list(ends)
        self.changed = asyncio.Event()

    async def refresh(self) -> None:
        self.calls.append("refresh")
        if end := self.ends.pop(0):
            raise end

    async def publish(self, now: int) -> None:
        self.calls.append(now)
        if end := self.ends.pop(0):
            raise end


async def keep(keeper: Any, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Keep until the end; how long it slept each time."""
    slept: list[float] = []

    async def wait(_: SharedState, seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(SharedState, "wait", wait)
    monkeypatch.setattr("app.lifespan._LOOKS", 20)
    with pytest.raises(asyncio.CancelledError):
        await SharedState(keeper, keeper, keeper, lambda: 7.9).keep()
    return slept


async def test_shared_state_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The priors are read at once and about every 30 s, not by all replicas at once; the columns are published at once
    and after so many looks."""
    keeper = Keeper(*[None] * 44, asyncio.CancelledError())
    slept = await keep(keeper, monkeypatch)
    looks = ["refresh"] * 19
    assert keeper.calls == ["refresh", 7, *looks, "refresh", 7, *looks, "refresh", 7, "refresh"]
    assert all(24 <= seconds <= 36 for seconds in slept)
    assert len(set(slept)) > 10


async def test_another_file_is_published_at_once() -> None:
    """Without waiting for the next look, and then as seldom as before."""
    keeper: Any = Keeper(*[None] * 6)
    kept = asyncio.create_task(SharedState(keeper, keeper, keeper, lambda: 7.9).keep())
    await turns()
    assert keeper.calls == ["refresh", 7]
    keeper.changed.set()
    await turns()
    assert keeper.calls == ["refresh", 7] * 2
    assert not keeper.changed.is_set()
    kept.cancel()


async def test_nothing_ends_it(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """While Redis is away the columns are tried again soon, and the log is the store's; anything else is logged once,
    and tried again when it is time."""
    keeper = Keeper(None, StoreUnavailable("away"), None, None, asyncio.CancelledError())
    assert (await keep(keeper, monkeypatch))[0] == 10
    assert keeper.calls == ["refresh", 7, "refresh", 7, "refresh"]
    assert caplog.text == ""
    for odd in (CorruptState("k", "odd"), RuntimeError("a defect")):
        keeper = Keeper(None, odd, None, None, asyncio.CancelledError())
        await keep(keeper, monkeypatch)
        assert keeper.calls == ["refresh", 7, "refresh", "refresh", "refresh"]
        assert caplog.text.count("cannot read the priors or publish the columns of models") == 1
        assert str(odd) in caplog.text
        caplog.clear()


def test_how_many_replicas_a_write_waits_for() -> None:
    """A number, or None where the kind of Redis decides."""
    assert wait_replicas_of(Settings()) is None
    assert wait_replicas_of(Settings(redis_wait_replicas=2)) == 2
