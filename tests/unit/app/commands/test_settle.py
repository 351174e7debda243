"""The command `settle` over an embedded store."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.commands import settle
from app.commands.cli import run
from app.settings import Settings
from state import keys
from state.redis.servers import Servers
from tests.support.decided import LOOPS, Shifted, made, shifted
from tests.unit.app.decisions.scene import ask

pytestmark = pytest.mark.anyio
OVER = 5_000


@pytest.fixture
def policies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "policies.toml"
    file.write_text(LOOPS)
    monkeypatch.setenv("POLICIES", str(file))


def filled(monkeypatch: pytest.MonkeyPatch, *, broken: bool = False) -> None:
    """The command finds two users who are due; the decisions of one cannot be read if `broken`."""

    @asynccontextmanager
    async def connected(settings: Settings) -> AsyncIterator[Servers]:
        store: Shifted = shifted("memory://", OVER)
        for user in ("ann", "bob"):
            await made(store, user, "one")
        if broken:
            await ask(store, "HSET", keys.decisions("ann"), "one", "damage")
        yield store._servers
        await store.close()

    monkeypatch.setattr(settle, "connected", connected)


@pytest.mark.parametrize("words", [["settle"], ["settle", "--once"]])
def test_settle(
    words: list[str], policies: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It counts what it has done."""
    filled(monkeypatch)
    assert run(words) == 0
    assert capsys.readouterr() == ("settled: 2 decisions in 2 looks at users; left: 0 users\n", "")


def test_damage(policies: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Is named, and the exit code is 1."""
    filled(monkeypatch, broken=True)
    assert run(["settle"]) == 1
    out, err = capsys.readouterr()
    assert out == "settled: 1 decisions in 2 looks at users; left: 1 users\n"
    assert err.startswith("left for an hour: oo:{ann}:d one: is not a decision")
