"""The image, really built and run: `./dev image`.

It needs Debian and root, and makes what the Dockerfile builds on by itself, so no registry of images is asked. Ends
with a line "N passed, M failed".
"""

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from tests.support.processes import HOST, Server, free_port, http_answers
from tests.support.waiting import PATIENCE_SECONDS, ServerError, until
from tests.system.image.base import ImageError
from tests.system.image.build import Builder, differences
from tests.system.image.container import container, run_in, takes

# The image's own user, and one as OpenShift gives.
USERS = ((65532, 65532), (1_000_690_000, 0))
BODY = {"user_id": "u", "candidates": [{"id": "a", "content": "a", "source": "test"}]}


class Checks:
    """What was looked at, and what was not as it should be."""

    def __init__(self) -> None:
        self.passed = self.failed = 0
        self._begun = time.monotonic()

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self._begun:4.0f} s  {text}", flush=True)

    def that(self, what: str, check: Callable[[], object]) -> None:
        """Say and count whether `check` returned; an AssertionError or a server's trouble is a failure."""
        try:
            check()
        except (AssertionError, ServerError, httpx.HTTPError, subprocess.SubprocessError) as error:
            self.failed += 1
            self.say(f"FAILED {what}: {error}")
        else:
            self.passed += 1
            self.say(f"passed {what}")


def health_check(image: dict[str, Any]) -> list[str]:
    """The command of HEALTHCHECK, which the docker format keeps."""
    found = image["Docker"]["config"].get("Healthcheck")
    assert found, "the image has no HEALTHCHECK"
    assert found["Test"][0] == "CMD"
    words: list[str] = found["Test"][1:]
    return words


def same(builder: Builder) -> None:
    """Both builds have the same layers; if not, the files that differ are named."""
    first, second = (builder.inspect(tag)["OCIv1"]["rootfs"]["diff_ids"] for tag in ("first", "second"))
    if first != second:
        lines = differences(builder.directory / "bundle-first", builder.unpack("second"))
        raise AssertionError("\n".join([f"{len(lines)} files differ", *lines[:10]]))


def serves(bundle: Path, user: tuple[int, int], check: list[str]) -> None:
    """As `user` it serves, its health check agrees, it can write nowhere but /tmp, and SIGTERM ends it in order."""
    with container(bundle, user) as server:
        server.start()
        answer = httpx.post(f"{server.url}/score", json=BODY, timeout=PATIENCE_SECONDS)
        assert (answer.status_code, answer.json()["tip_id"]) == (200, "a")
        until(lambda: run_in(server, check) == 0, "the health check agrees")
        for path in ("/opt/oo/new", "/new", "/var/tmp/new"):
            assert run_in(server, ["python", "-c", f"open({path!r}, 'w')"]) == 1, f"{path} can be written"
        assert run_in(server, ["python", "-c", "open('/tmp/new', 'w')"]) == 0
        assert run_in(server, ["python", "-c", "import pip"]) == 1, "pip is left in it"
        code = server.stop()
        assert code == 0, f"the exit code is {code}:\n{server.log[-1000:]}"
        assert "Finished server process" in server.log


def stops_at_once(bundle: Path) -> None:
    """SIGTERM ends the first process of a container from the moment at which it takes signals, before its first line.

    Before that moment the kernel drops the signal, as it does for any first process.
    """
    for lines in range(3):

        def so_far(server: Server, lines: int = lines) -> bool:
            return server.log.count("\n") >= lines and takes(server, signal.SIGTERM)

        with container(bundle, USERS[0], ready=so_far) as server:
            server.start()
            code = server.stop()
            assert code in (0, 128 + signal.SIGTERM), f"the exit code is {code}:\n{server.log[-1000:]}"


def says_what_it_lacks(bundle: Path) -> None:
    """Several processes need a /tmp: with one they serve, without it the start fails with one line."""
    environ = {"WORKERS": "2", "REDIS_URL": f"redis://{HOST}:{free_port()}"}  # nobody is there
    live = partial(http_answers, path="/health/live", status=200)
    with container(bundle, USERS[0], environ, ready=live) as server:
        server.start()
        assert server.stop() == 0
    with container(bundle, USERS[0], environ, tmp=False, ready=live) as server:
        try:
            server.start()
        except ServerError:
            lines = server.log.splitlines()
            assert len(lines) == 1, server.log
            assert "WORKERS: more than 1 needs a writable directory" in lines[0]
        else:
            raise AssertionError("it starts without /tmp")


def main() -> int:
    checks = Checks()
    with tempfile.TemporaryDirectory(prefix="oo-image-", dir="/var/tmp", ignore_cleanup_errors=True) as name:
        builder = Builder(Path(name))
        checks.say("making the base: Debian and this Python")
        builder.base()
        for tag in ("first", "second"):
            checks.say(f"building the {tag} image")
            builder.build(tag)
        checks.say("unpacking")
        bundle = builder.unpack("first")
        checks.that("two builds give the same", lambda: same(builder))
        found: list[str] = []
        checks.that("HEALTHCHECK is kept", lambda: found.extend(health_check(builder.inspect("first"))))
        for user in USERS:
            checks.that(f"serves as {user[0]}:{user[1]}", partial(serves, bundle, user, found))
        checks.that("SIGTERM ends it at any moment", lambda: stops_at_once(bundle))
        checks.that("WORKERS needs /tmp", lambda: says_what_it_lacks(bundle))
    print(f"{checks.passed} passed, {checks.failed} failed")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ImageError as error:
        sys.exit(f"image: {error}")
