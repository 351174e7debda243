"""How the parts are put together, and settings that do not fit together."""

import os
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from types import SimpleNamespace
from typing import Any

import pytest

from app.__main__ import _Workers
from app.main import create_app, from_environment
from app.policies.catalog import policies
from app.settings import Secret, Settings, SettingsError
from tests.support.waiting import PATIENCE_SECONDS
from tests.unit.app.serving import REWARD, SCORE, serving

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"workers": 2}, "REDIS_URL: memory:// is for one process"),
        ({"redis_wait_replicas": 1}, "REDIS_URL: memory:// is for one process"),
        ({"redis_url": Secret("http://x")}, "REDIS_URL: "),
        ({"default_prompt_version": "v9"}, "DEFAULT_PROMPT_VERSION: unknown prompt version 'v9'"),
        ({"api_keys": Secret("nonsense")}, "API_KEYS: line 1"),
        ({"nats_url": Secret("http://x")}, "NATS_URL: "),
        ({"root_path": "/score"}, "ROOT_PATH: /score begins like a path of the service"),
        ({"root_path": "/console"}, "ROOT_PATH: /console begins like a path of the service"),
        ({"root_path": "/personalizer"}, "ROOT_PATH: /personalizer begins like a path of the service"),
        ({"trusted_proxies": "ten"}, "TRUSTED_PROXIES: "),
    ],
)
def test_settings_that_do_not_fit_are_one_line(settings: dict[str, Any], said: str) -> None:
    """It names the variable."""
    with pytest.raises(SettingsError) as caught:
        create_app(Settings(**settings))
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


async def test_the_settings_reach_the_parts_that_they_are_for() -> None:
    """Epsilon the policies and their gauges, bounds the routes, keys the guard."""
    async with serving(epsilon=0.25, max_body_bytes=1_024, max_inflight=7, feature_history_size=1) as client:
        for _ in range(2):
            assert (await client.post("/score", json=SCORE)).status_code == 200
        assert len((await client.get("/features/ann")).json()["history"]) == 1
        assert (await client.post("/reward", json=REWARD | {"x": " " * 1_024})).status_code == 413
        metrics = (await client.get("/metrics")).text
        assert "oo_http_requests_inflight_limit 7.0" in metrics
        for policy in policies().values():
            explores = policy.classic.tells_exploration
            assert (f'oo_policy_epsilon{{policy="{policy.id}"}} 0.25' in metrics) == explores
            for verb in ("score", "reward"):
                series = f'method="POST",route="/{verb}{policy.classic.route}",status="500"'
                assert f"oo_http_request_seconds_count{{{series}}} 0.0" in metrics


def test_a_worker_ends_if_its_settings_have_become_invalid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its parent starts another one later."""
    monkeypatch.setattr("app.main.set_up", lambda *_: None)
    monkeypatch.setenv("API_KEYS", "/nowhere/keys")
    with pytest.raises(SystemExit) as caught:
        from_environment()
    assert caught.value.code == 1


def test_a_worker_that_ends_unanswered() -> None:
    """One that ends while its parent waits for its answer, as after an error at its start, is not waited for."""
    workers = _Workers.__new__(_Workers)  # __init__ would take this process's signals
    workers._silent_until = {}
    parent, child = Pipe()
    theirs = Connection(os.dup(child.fileno()))
    worker: Any = SimpleNamespace(pid=1, exitcode=None, parent_conn=parent, child_conn=child)
    with parent, child:
        with theirs:
            assert not workers._would_answer(worker)
            assert theirs.recv_bytes()
        assert parent.poll(PATIENCE_SECONDS)
        assert workers._would_answer(worker)
