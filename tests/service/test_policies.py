"""The policy file of a process: read at the start, and again on SIGHUP."""

import os
import signal
from pathlib import Path

import pytest

from tests.service.test_start import start
from tests.support.redis_servers import RedisServer
from tests.support.service import service
from tests.support.waiting import until

FILE = """
[policies.{name}]
columns = ["1", "task_age"]
explore = {{ by = "linucb", alpha = 0.2, floor = 0.02 }}
"""


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_bad_file_stops_the_start(workers: str, store: RedisServer, tmp_path: Path) -> None:
    """With one line, and the exit code of other wrong settings."""
    path = tmp_path / "policies.toml"
    path.write_text(FILE.format(name="p").replace("floor", "flor"))
    done = start(POLICIES=str(path), WORKERS=workers, REDIS_URL=store.url)
    assert (done.returncode, done.stdout) == (2, "")
    said = "[policies] p: explore: has a key 'flor'; it takes by, alpha, floor"
    assert done.stderr == f"POLICIES: {path}: {said}\n"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_another_file_without_a_restart(workers: str, store: RedisServer, tmp_path: Path) -> None:
    """After SIGHUP to the service's process each worker has the file as it is now, and Redis knows its policies; a bad
    file is one line for each worker, and changes nothing."""
    path = tmp_path / "policies.toml"
    path.write_text(FILE.format(name="first"))

    def known() -> set[bytes]:
        with store.client() as client:
            return set(client.smembers("oo:policies"))

    with service({"POLICIES": str(path), "WORKERS": workers, "REDIS_URL": store.url}) as server:

        def until_all_say(text: str, times: int = 1) -> None:
            until(lambda: server.log.count(text) == times * int(workers), text)

        until(lambda: b"first" in known(), "policies are known")
        path.write_text("[policies]\nx = 3")
        os.kill(server.pid, signal.SIGHUP)
        until_all_say(f"POLICIES: {path}: [policies] x: takes a table with ")
        until_all_say("the policies stay as they are")
        path.write_text(FILE.format(name="second"))
        os.kill(server.pid, signal.SIGHUP)
        until_all_say("POLICIES read again: 5 policies, 1 loops")
        until(lambda: b"second" in known(), "the new policy is known")
        assert "read again: 4" not in server.log
        assert server.stop() == 0
    assert {b"first", b"second", b"tips-v3"} <= known()
