"""How the parts are put together, where the service listens, and settings that do not fit together."""

import errno
import os
import socket
from contextlib import ExitStack
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from types import SimpleNamespace
from typing import Any

import pytest

from app import __main__ as main
from app.__main__ import _Workers, listeners
from app.main import create_app, from_environment
from app.policies.catalog import policies
from app.settings import Secret, Settings, SettingsError
from tests.support.processes import free_port
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


def test_all_addresses_of_a_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that stands for several addresses means all of them, of both families, but for what the machine lacks;
    what was bound is closed if one is in use."""
    port = free_port()
    addresses: list[tuple[socket.AddressFamily, str]] = []

    def answers(*_: object, **__: object) -> list[object]:
        return [(family, socket.SOCK_STREAM, 0, "", (address, port)) for family, address in addresses]

    monkeypatch.setattr("app.__main__.socket.getaddrinfo", answers)
    addresses[:] = [(socket.AF_INET6, "2001:db8::1"), (socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "127.0.0.1")]
    with ExitStack() as stack:
        [bound] = [stack.enter_context(one) for one in listeners("name", port)]
        assert bound.getsockname() == ("127.0.0.1", port)
        bound.listen()
        addresses[:] = [(socket.AF_INET, "127.0.0.2"), (socket.AF_INET, "127.0.0.1")]
        with pytest.raises(SettingsError, match="Address already in use"):
            listeners("name", port)
    addresses[:] = [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")]
    with ExitStack() as stack:
        both = [stack.enter_context(one) for one in listeners("name", port)]
        for one in both:
            one.listen()
    assert both[0].family == socket.AF_INET
    addresses[:] = [(socket.AF_INET6, "2001:db8::1")]
    with pytest.raises(SettingsError, match="'name'"):
        listeners("name", port)


def test_two_colons_are_both_families(monkeypatch: pytest.MonkeyPatch) -> None:
    """HOST=:: serves every address of IPv6 and IPv4, and what there is on a machine that lacks one of them."""
    port = free_port()
    with ExitStack() as stack:
        bound = [stack.enter_context(one) for one in listeners("::", port)]
        assert [one.getsockname()[:2] for one in bound] == [("::", port), ("0.0.0.0", port)]
    inner = main._bound
    for lacking, left in ((socket.AF_INET6, "0.0.0.0"), (socket.AF_INET, "::")):

        def bound_or_lacking(family: Any, *rest: Any, lacking: Any = lacking) -> socket.socket:
            if family == lacking:
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
            return inner(family, *rest)

        monkeypatch.setattr(main, "_bound", bound_or_lacking)
        [only] = listeners("::", port)
        with only:
            assert only.getsockname()[:2] == (left, port)


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
