"""Where the log goes, by the settings."""

from pathlib import Path

import pytest

from app.decision_log.places import Folder, Streamed
from app.publishing import is_logged, log_health, made_publisher
from app.settings import Secret, Settings, SettingsError
from state.redis.connect import open_servers
from state.store import Store
from tests.unit.app.decision_log.test_publish import Noted


def store() -> Store:
    return Store(open_servers("memory://", size=1, timeout=1.0), timeout=1.0, history_size=1, marker_seconds=1)


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ({}, None),
        ({"decision_log": "file:///var/log/oo"}, Folder),
        ({"decision_log": "nats", "nats_url": Secret("nats://here:4222")}, Streamed),
    ],
)
def test_places(settings: dict[str, str], place: type | None) -> None:
    """Nothing, files, or the stream; /health says whether there is a log."""
    made = Settings(**settings)  # type: ignore[arg-type]
    publisher = made_publisher(made, store(), Noted())
    assert is_logged(made) == (publisher is not None) == log_health(publisher)().enabled
    assert (type(publisher._place) if publisher else None) is place


@pytest.mark.parametrize(
    ("log", "problem"),
    [
        ("/var/log", "DECISION_LOG: takes file:///directory or nats, or nothing for no log, not '/var/log'"),
        ("nats", "DECISION_LOG: nats needs NATS_URL"),
    ],
)
def test_what_cannot_be(log: str, problem: str) -> None:
    """The setting is named."""
    with pytest.raises(SettingsError) as error:
        made_publisher(Settings(decision_log=log), store(), Noted())
    assert str(error.value) == problem


def test_where_files_go(tmp_path: Path) -> None:
    """The directory that the URL names."""
    publisher = made_publisher(Settings(decision_log=f"file://{tmp_path}"), store(), Noted())
    assert publisher is not None
    assert publisher._place._directory == tmp_path  # type: ignore[attr-defined]
