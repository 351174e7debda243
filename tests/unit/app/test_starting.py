"""What a signal does before, while and after a process serves."""

import signal
from collections.abc import Iterator

import pytest

from app.starting import INTERRUPTED, Start


class Ended(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """What happened at the end: the exit code, after what was cleaned up. Signal handlers are put back."""
    found: list[object] = []

    def end(code: int) -> None:
        found.append(code)
        raise Ended

    monkeypatch.setattr("app.starting.os._exit", end)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield found
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("code", [0, INTERRUPTED])
def test_a_process_that_starts_ends_at_once(ends: list[object], number: signal.Signals, code: int) -> None:
    """With its code, and leaving nothing behind."""
    start = Start(code)
    start.clean_up = lambda: ends.append("cleaned")
    start.watch()
    with pytest.raises(Ended):
        signal.raise_signal(number)
    assert ends == ["cleaned", code]


def test_after_serving_a_signal_is_a_success(ends: list[object]) -> None:
    """uvicorn raises it again when it has stopped in order."""
    start = Start(1)
    start.watch()
    start.over = True
    with pytest.raises(SystemExit) as caught:
        signal.raise_signal(signal.SIGTERM)
    assert (caught.value.code, ends) == (0, [])


def test_an_ignored_interrupt_stays_ignored(ends: list[object]) -> None:
    """As in the background of a script."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Start(0).watch()
    signal.raise_signal(signal.SIGINT)
    assert ends == []
