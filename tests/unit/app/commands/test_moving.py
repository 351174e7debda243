"""Import, export and restore over an embedded store."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from app.backup.reader import Read
from app.commands import moving
from app.commands.cli import run
from app.settings import Settings
from state import keys
from state.redis.connect import open_servers
from state.redis.servers import Servers
from state.users import Found
from tests.unit.app.commands.samples import COLUMNS, HISTORY, NAMED, REWARDED, decided, decisions, model
from tests.unit.app.decisions.scene import ask, stored


def saved(directory: Path, name: str, d: int) -> None:
    meta = {"pulls": 3, "reward_count": 1, "cumulative_reward": 0.5, "last_updated": None}
    (directory / name).write_text(json.dumps({"A": np.eye(d).tolist(), "b": [0.25] * d, "meta": meta}))


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command has an embedded store of its own, empty, instead of a refusal."""

    @asynccontextmanager
    async def connected(settings: Settings, *, embedded: bool = False) -> AsyncIterator[Servers]:
        servers = open_servers("memory://", size=4, timeout=1.0)
        yield servers
        await servers.close()

    monkeypatch.setattr(moving, "connected", connected)


def test_dry_run_needs_no_redis(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """--dry-run counts what would be imported and what is left out, on an empty store if there is no other."""
    monkeypatch.setenv("REDIS_URL", "memory://")
    saved(tmp_path, "ann.json", 5)
    saved(tmp_path, "ann_egreedy.json", 7)
    saved(tmp_path, "odd.json", 6)
    assert run(["import", str(tmp_path), "--dry-run"]) == 1
    out, err = capsys.readouterr()
    assert out == "would be imported: 2 models; there already: 0; left out: 1\n"
    assert err == "odd.json: left out: b has 6 numbers, which no policy has\n"


def test_import_writes(tmp_path: Path, embedded: None, capsys: pytest.CaptureFixture[str]) -> None:
    """All models of the directory; one without any is most likely the wrong one."""
    (tmp_path / "state").mkdir()
    assert run(["import", str(tmp_path / "state")]) == 1
    assert "has no files of the first system" in capsys.readouterr().err
    saved(tmp_path / "state", "ann.json", 5)
    assert run(["import", str(tmp_path / "state")]) == 0
    assert capsys.readouterr().out == "imported: 1 models; there already: 0; left out: 0\n"


def test_export_of_nothing_restores_nothing(tmp_path: Path, embedded: None, capsys: pytest.CaptureFixture[str]) -> None:
    """The file is whole, and both commands say that there are no users and fail."""
    file = tmp_path / "f"
    assert run(["export", str(file)]) == 1
    out, err = capsys.readouterr()
    assert out.startswith("exported: 0 users: nothing; left out: 0 keys; ")
    assert err == "this Redis has no users: does REDIS_URL name the right one?\n"
    assert run(["restore", str(file)]) == 1
    assert capsys.readouterr().err == f"{file}: has no users\n"


def test_users_are_grouped_by_count_and_size() -> None:
    """A group ends before it has more than its bytes or users; a large user is a group of its own."""
    sizes = [1, 2**23, 1, 2**22, 2**22, *[0] * 1_500]
    groups = list(moving._bounded(Read([], {}, size) for size in sizes))
    assert [len(group) for group in groups] == [1, 1, 2, 1_024, 477]
    assert [user.size for group in groups for user in group] == sizes


def test_columns_that_users_name() -> None:
    """Those of models and of decisions; a decision may be called like the field in which a model names its own."""
    made = decisions(columns=REWARDED)
    assert moving._named([Found("ann", [model("ann"), HISTORY, *made], [])]) == {COLUMNS.fingerprint}
    assert moving._named([Found("ann", [NAMED], [])]) == {COLUMNS.fingerprint}
    assert moving._named([Found("ann", [model("ann"), *decisions(columns=decided())], [])]) == set()


@pytest.mark.anyio
async def test_the_log_of_imported_users_begins_anew() -> None:
    """Of those who have one; without a log nothing is asked."""
    async with stored() as store:
        await ask(store, "HSET", keys.shared("ann"), "epoch", "e", "logged", "3")
        await moving._log_anew(store, ["ann", "bob"])
        assert await ask(store, "HGETALL", keys.shared("ann")) == {b"epoch": b"e", b"logged": b"0"}
        assert await ask(store, "EXISTS", keys.shared("bob")) == 0
    await moving._log_anew(None, ["ann"])
