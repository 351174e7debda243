"""For every test: the event loop, a real Redis, the time limit, and how hard Hypothesis tries."""

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

from tests.support import timeouts
from tests.support.processes import Server
from tests.support.redis_servers import RedisServer, redis_server
from tests.support.service import service

# CI must give the same verdict twice: no random examples, and no example fails because it was slow.
settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, database=None, max_examples=100)
PROFILE = "ci" if os.environ.get("CI") else "local"
# './dev test --quick' asks for it.
settings.register_profile("quick", settings.get_profile(PROFILE), max_examples=20)
settings.load_profile(PROFILE)

# './dev test --cover' measures the processes that run tests, not what these start: that would be slower by it.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.pop("COVERAGE_PROCESS_START", None)

# A script that runs the tests in the background makes them ignore Ctrl-C, and the programs they start would do so too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_timeout_set_timer(settings: Any) -> bool:
    """Replace the timer of pytest-timeout, whose exception uvloop swallows; `settings` are that plugin's."""
    timeouts.start(settings.timeout)
    return True


def pytest_timeout_cancel_timer() -> bool:
    """Stop the timer that the hook above started."""
    timeouts.cancel()
    return True


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """Tests marked `anyio` run on uvloop, as the service does; it fails in its own ways."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="session")
def session_redis() -> Iterator[RedisServer]:
    """One redis-server for the whole run; tests take `real_redis` or `redis_url`, which empty it first."""
    with redis_server() as server:
        yield server


@pytest.fixture
def real_redis(session_redis: RedisServer) -> RedisServer:
    """The run's redis-server, emptied for this test. A test that stops or freezes a server starts its own."""
    session_redis.command("FLUSHALL")
    return session_redis


@pytest.fixture
def redis_url(real_redis: RedisServer) -> str:
    """The URL of the run's redis-server, emptied for this test."""
    return real_redis.url


@pytest.fixture(scope="module")
def store() -> Iterator[RedisServer]:
    """A redis-server for one file of tests, which may leave things in it, stop it or freeze it."""
    with redis_server() as server:
        yield server


@pytest.fixture(scope="module")
def served(store: RedisServer) -> Iterator[Server]:
    """The service over `store`, for one file of tests."""
    with service({"REDIS_URL": store.url, "STORE_TIMEOUT_SECONDS": "30"}) as server:
        yield server


@pytest.fixture(params=["memory", "redis"])
def store_url(request: pytest.FixtureRequest) -> str:
    """Each kind of store in turn: the embedded one, then a real Redis, empty."""
    if request.param == "memory":
        return "memory://"
    url: str = request.getfixturevalue("redis_url")
    return url
