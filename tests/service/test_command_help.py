"""The help of each command names the variables that the command reads: no more, and none less."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.commands import cli
from app.decision_log.files import Files
from app.decision_log.lines import Line, encode
from app.settings import Settings, from_environment
from tests.support.nats_servers import nats_server
from tests.support.parsers import PARSERS
from tests.support.redis_servers import RedisServer
from tests.unit.app.decision_log.samples import BEGIN, decision, outcome

# For each command a call that reads all it ever reads. `explain` and `judge` find a decision in the log.
CALLS = {
    "import": "state",
    "export": "backup.gz",
    "restore": "backup.gz --overwrite",
    "show": "ann",
    "erase": "ann --yes",
    "policies": "--prune",
    "prior": "",
    "settle": "",
    "simulate": "--seeds 1 --decisions 10",
    "evaluate": "log",
    "judge": "log",
    "key": "phone client",
    "events status": "",
    "events letters": "",
    "events replay": "",
    "events discard": "1",
    "log compact": "log",
    "log dsjson": "log",
    "log explain": "log d1.YW5u",
    "log verify": "log",
    "log pull": "log",
}


class Noting:
    """The settings, which note what is read of them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.read: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.read.add(name.upper())
        return getattr(self._settings, name)


@pytest.fixture(scope="module")
def nats_url() -> Iterator[str]:
    with nats_server() as server:
        yield server.url


@pytest.fixture
def place(real_redis: RedisServer, nats_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder with a log, and with a user of the first system who is in a backup and in Redis too."""
    monkeypatch.chdir(tmp_path)
    for name, value in {"REDIS_URL": real_redis.url, "NATS_URL": nats_url, "STORE_TIMEOUT_SECONDS": "60"}.items():
        monkeypatch.setenv(name, value)
    Path("state").mkdir()
    model = {"A": np.eye(5).tolist(), "b": [0.5] * 5, "meta": {"pulls": 3}}
    Path("state/ann.json").write_text(json.dumps(model))
    Path("log").mkdir()
    files = Files(tmp_path / "log", clock=lambda: BEGIN / 1_000)
    lines: list[Line] = [decision(1), outcome(2)]
    files.append(map(encode, lines))
    files.close()
    assert cli.run(["import", "state"]) == cli.run(["export", "backup.gz"]) == 0
    yield
    real_redis.command("FLUSHALL")


@pytest.mark.parametrize("name", PARSERS)
def test_what_is_read_is_named(
    name: str, place: None, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Somebody who calls a command with the variables of its help alone gets what the service would do."""
    noted: list[Noting] = []

    def noting(environ: Any) -> Noting:
        noted.append(Noting(from_environment(environ)))
        return noted[-1]

    monkeypatch.setattr(cli, "from_environment", noting)
    assert cli.run([*name.split(), *CALLS[name].split()]) in (0, 1, 3)
    section = PARSERS[name].format_help().partition("\nenvironment, as")[2].partition("\nexit codes:")[0]
    assert set(re.findall(r"^  ([A-Z_]+) \(", section, re.MULTILINE)) == noted[0].read
