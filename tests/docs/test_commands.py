"""The commands of the README, of docs/use and of what moved from the README to docs/run: they do what is shown."""

import asyncio
import functools
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

import httpx
import pytest

from app.http.api_keys import ROLES, make_key
from app.tips import prompts
from state.redis.connect import open_servers
from state.shared import Shared
from tests.docs import test_run
from tests.docs.pages import PAGES, ROOT, blocks, commands
from tests.support.bodies import reward, score
from tests.support.faults import Proxy
from tests.support.nats_servers import nats_server
from tests.support.processes import Server, free_port, http_answers
from tests.support.proxies import haproxy
from tests.support.redis_servers import RedisServer, redis_server
from tests.support.service import service
from tests.support.standin import completion
from tests.support.waiting import PATIENCE_SECONDS, until

README: Final = ROOT / "README.md"
OURS: Final = [README, ROOT / "docs/run/redis.md", *sorted((ROOT / "docs/use").glob("*.md"))]
# On a busy machine no request should fail that would succeed on a fast one.
PATIENT: Final = {"STORE_TIMEOUT_SECONDS": "30"}
# A time: as text, in Unix seconds, or in microseconds.
TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ|\b1[789]\d{8}(\d{6})?\b")
# What chance decides of a decision: the candidate, its place, its propensity and its score.
DRAWN: Final = re.compile(r'(?<="candidate_id":)"[^"]*","index":\d+,"propensity":[^,]*,"score":[^,]*')
FLOAT: Final = re.compile(r"\d+\.\d+(e[-+]\d+)?")
# These change nothing, so they may be repeated until an event that was just published has been handled.
READS: Final = ("redis-cli HGETALL ", "curl -s localhost:8000/health")


def texts(page: Path, language: str) -> list[str]:
    """The fenced blocks of one language on a page, in order."""
    return [block.text for block in blocks(page.read_text()) if block.language == language]


def shown_commands(page: Path) -> list[tuple[str, str]]:
    """Each command of the page's `console` blocks, and the output shown below it; not of those that need what a test
    does not have."""
    found = [block for block in blocks(page.read_text()) if block.language == "console" and block.needs is None]
    return [step for block in found for step in commands(block.text)]


def steady(text: str) -> str:
    """Text without what differs between runs and machines: times, which candidate was drawn, and digits of a float
    beyond the ninth."""
    text = DRAWN.sub("<drawn>", TIME.sub("<time>", text.strip()))
    return FLOAT.sub(lambda number: f"{float(number[0]):.9g}", text)


def alike(shown: str, printed: str) -> bool:
    """Whether the output is what is shown, where `...` stands for anything within a line."""
    pattern = re.escape(steady(shown)).replace(re.escape("..."), ".*")
    return re.fullmatch(pattern, steady(printed)) is not None


def test_what_is_shown_can_be_wrong() -> None:
    """The comparison lets times, dots and last digits pass, and nothing else."""
    assert alike('{"a":...,"t":"2026-11-23T12:34:56Z"}', '{"a":[1,2],"t":"2027-01-01T00:00:00Z"}\n')
    assert alike("1795439260552065", "1895439260552065")
    assert alike("1.7349351572897473", "1.7349351572897471")
    assert not alike("1.73493515", "1.73493516")
    assert not alike('{"a":1}', '{"a":2}')
    made = '{"candidate_id":"%s","index":%d,"propensity":%s,"score":0.0,"candidates":[1]}'
    assert alike(made % ("rent", 0, 0.95), made % ("walk", 1, 0.05))
    assert not alike(made % ("rent", 0, 0.95), made.replace("[1]", "[2]") % ("walk", 1, 0.05))
    assert not alike("one ...", "one\ntwo")


# Console blocks


@contextmanager
def language_model(reply: bytes) -> Iterator[str]:
    """The URL of a server that answers every request with this chat completion."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def tips_of(page: Path) -> bytes:
    """The chat completion of which the service makes the answer that the page shows."""
    answer = json.loads(next(shown for _, shown in shown_commands(page) if '"candidates"' in shown))
    said = [{name: tip[name] for name in ("content", "rationale") if tip[name]} for tip in answer["candidates"]]
    said[0]["id"] = answer["candidates"][0]["id"]
    tokens = (answer["prompt_tokens"], answer["completion_tokens"])
    return completion(json.dumps(said), tokens=tokens, model=answer["model"])


@contextmanager
def shell(page: Path, folder: Path) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """What a reader of the page has started, all of it new: an environment for its commands in which localhost:8000
    is the service and redis-cli asks its Redis, and what else to replace in the commands."""
    with ExitStack() as stack:
        store = stack.enter_context(redis_server())
        environ = {"REDIS_URL": store.url, **PATIENT}
        named: dict[str, str] = {}
        if page.name == "events.md":
            nats = stack.enter_context(nats_server())
            environ |= {"NATS_URL": nats.url, "NATS_CREATE_STREAMS": "1"}
            named["localhost:4222"] = f"localhost:{nats.port}"
        if page.name == "personalizer.md":
            environ["PERSONALIZER_KEY"] = "KEY"
        if page.name == "tips.md":
            environ["LITELLM_URL"] = stack.enter_context(language_model(tips_of(page)))
            environ["LITELLM_MASTER_KEY"] = "sk-of-the-page"
        served = stack.enter_context(service(environ, ready="/health/ready"))
        if page.name == "events.md":
            until(lambda: httpx.get(f"{served.url}/health").text.count('"running"') == 2, "both consumers running")
        for name, words in {
            "curl": f"curl --connect-to localhost:8000:127.0.0.1:{served.port}",
            "redis-cli": f"redis-cli -p {store.port}",
            "python": sys.executable,
        }.items():
            path = folder / name
            path.write_text(f'#!/bin/sh\nPATH="$REAL_PATH" exec {words} "$@"\n')
            path.chmod(0o755)
        own = {name: environ[name] for name in ("NATS_URL",) if name in environ}
        path_of_all = {"REAL_PATH": os.environ["PATH"], "PATH": f"{folder}:{os.environ['PATH']}"}
        yield {**os.environ, **own, **path_of_all}, named


def printed(command: str, environ: dict[str, str], named: dict[str, str]) -> str:
    """What a command prints. Raises if it fails."""
    for name, real in named.items():
        command = command.replace(name, real)
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=ROOT,
        env=environ,
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    return done.stdout


@pytest.mark.parametrize("page", OURS, ids=lambda page: page.name)
def test_commands_print_what_is_shown(page: Path, tmp_path: Path) -> None:
    """All commands of a page, one after the other as a reader would type them, print what it shows."""
    found = shown_commands(page)
    assert len(found) >= 2
    with shell(page, tmp_path) as (environ, named):
        for command, shown in found:
            ask = functools.partial(printed, command, environ, named)
            output = ask()
            deadline = time.monotonic() + PATIENCE_SECONDS
            while command.startswith(READS) and not alike(shown, output) and time.monotonic() < deadline:
                time.sleep(0.05)
                output = ask()
            assert alike(shown, output), f"$ {command}\n{output}\n--- {page.name} shows\n{shown}"


def test_no_page_with_commands_is_forgotten() -> None:
    """Each page that has a `console` block is run here or looked after by test_run.py."""
    assert {page for page in PAGES if texts(page, "console")} <= {*OURS, *test_run.CHECKED}


# Other blocks


def test_prompt_of_the_page(tmp_path: Path) -> None:
    """The prompt in docs/use/tips.md is one that loads, every placeholder is in the table, and the folder is right."""
    page = ROOT / "docs/use/tips.md"
    [text] = texts(page, "markdown")
    (tmp_path / "v3.md").write_text(text)
    assert prompts.load("v3", tmp_path).get(None).messages(n=1)
    assert set(re.findall(r"^\| `\{\{(\w+)\}\}` \|", page.read_text(), re.MULTILINE)) == prompts.PLACEHOLDERS
    [folder] = set(re.findall(r"`(app/[a-z/]+/)(?:v3\.md)?`", page.read_text()))
    assert (ROOT / folder / "v1.md").is_file()


def test_dev_run_serves(real_redis: RedisServer, tmp_path: Path) -> None:
    """`./dev run` as the README writes it serves, on the embedded store and on a Redis that is named."""
    (plain, *_), (redis,), (named,) = (block.splitlines() for block in texts(README, "sh"))
    assert redis == "redis-server --appendonly yes"
    assert plain.startswith("./dev run ")
    assert "redis://localhost:6379 ./dev run" in named
    for line in (plain, named.replace("redis://localhost:6379", real_redis.url)):
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        server = Server(
            ["bash", "-c", line.replace("./dev run", "exec ./dev run")],
            port=port,
            url=url,
            directory=tmp_path,
            ready=functools.partial(http_answers, path="/health/ready", status=200),
            environ={**os.environ, **PATIENT, "PORT": str(port), "DRAIN_SECONDS": "0"},
        )
        try:
            server.start()
            assert httpx.post(f"{url}/score", json=score("cy"), timeout=PATIENCE_SECONDS).status_code == 200
        finally:
            server.stop()
    assert real_redis.command("EXISTS", "oo:{cy}:linucb-v1") == 1


async def ask_for_what_is_shared(url: str) -> None:
    servers = open_servers(url, size=4, timeout=PATIENCE_SECONDS)
    try:
        shared = Shared(servers, timeout=PATIENCE_SECONDS)
        assert await shared.columns(b"unknown") is None
        assert await shared.priors() == {}
    finally:
        await servers.close()


def test_rights_in_redis_are_enough_and_none_too_many(tmp_path: Path) -> None:
    """With the rights that docs/run/operations.md gives a user of Redis every route that needs Redis works, also when a
    reply of Redis is lost; nothing is denied, and each of the commands is really used."""
    text = (ROOT / "docs/run/operations.md").read_text()
    [command] = re.findall(r"^redis-cli (ACL SETUSER (?:.*\\\n)*.*)$", text, re.MULTILINE)
    words = shlex.split(command.replace("\\\n", " "))
    made: dict[str, tuple[str, str]] = {role: make_key(role, role) for role in ROLES}
    decide = {"user_id": "ann", "candidates": [{"id": "a"}], "loop": "one"}
    policies = tmp_path / "policies.toml"
    policies.write_text('[loops.one]\nchampion = "linucb-v1"\nopen_max = 1\n')  # the fifth decision removes the first
    with (
        redis_server() as store,
        redis_server("--replicaof", f"127.0.0.1 {store.port}"),
        Proxy(store.port) as proxy,
    ):
        assert store.command(*words)
        with store.client() as admin:
            until(lambda: admin.set("warm", 1, px=1) and admin.wait(1, 100) == 1, "replica in sync")
        environ = {
            "REDIS_URL": f"redis://oo-serving:PASSWORD@127.0.0.1:{proxy.port}",
            "REDIS_WAIT_REPLICAS": "1",
            "API_KEYS": "\n".join(line for _, line in made.values()),
            "RATE_LIMIT_PER_SECOND": "1000",
            "FEATURE_HISTORY_SIZE": "1",
            "POLICIES": str(policies),
            **PATIENT,
        }
        store.command("CONFIG", "RESETSTAT")
        with (
            service(environ, ready="/health/ready") as server,
            httpx.Client(base_url=server.url, timeout=PATIENCE_SECONDS) as client,
        ):
            for _ in ("the count of requests", "the score"):
                proxy.lose_reply()
            for role, method, path, body, headers in [
                ("client", "POST", "/score", score("ann"), {}),
                ("client", "POST", "/score", score("ann"), {}),
                *[("client", "POST", "/reward", reward("ann"), {"Idempotency-Key": "1"})] * 2,
                *[("client", "POST", "/decisions", decide, {})] * 5,
                ("reader", "GET", "/users/ann", None, {}),
                ("reader", "GET", "/stats/ann", None, {}),
                ("reader", "GET", "/features/ann", None, {}),
                ("admin", "POST", "/reset/ann", None, {}),
                ("admin", "DELETE", "/users/ann", None, {}),
            ]:
                key = {"Authorization": f"Bearer {made[role][0]}"}
                answer = client.request(method, path, json=body, headers=key | headers)
                assert answer.status_code == 200, (path, answer.text)
            # What a replica asks for a model of another policy file, and for what other users taught.
            asyncio.run(ask_for_what_is_shared(environ["REDIS_URL"]))
            # What INFO is for happens in the background, perhaps later than all of this.
            until(lambda: "Redis has appendonly no" in server.log, "Redis asked how it is set up")
        with store.client(decode_responses=True) as admin:
            used = {name.removeprefix("cmdstat_") for name in admin.info("commandstats")}
        assert store.command("ACL", "LOG") == []
    assert {word[1:] for word in words if word.startswith("+")} - used == set()


def test_replicas_behind_haproxy(real_redis: RedisServer) -> None:
    """The load balancer's configuration works as written, but for addresses: both replicas serve one user, and one of
    them may stop without a failed request."""
    config, _ = texts(ROOT / "docs/run/replicas.md", "haproxy")
    # On a busy machine Redis may need longer than a probe gives it, and a probe longer than HAProxy gives it: no
    # replica should be left for that. This one leaves those that say so, or are gone.
    asked = "    option httpchk GET /health/ready\n"
    assert asked in config
    config = config.replace(asked, f"{asked}    http-check expect ! string stopping\n    timeout check 60s\n")
    environ = {"REDIS_URL": real_redis.url, **PATIENT}
    with service(environ) as one, service(environ) as two:
        for address, replica in (("10.0.0.11:8000", one), ("10.0.0.12:8000", two)):
            assert address in config
            config = config.replace(address, f"127.0.0.1:{replica.port}")
        assert "bind :8000" in config
        with (
            haproxy(config.replace("bind :8000", "bind $ADDRESS")) as balancer,
            httpx.Client(base_url=balancer.url, timeout=PATIENCE_SECONDS) as client,
        ):
            until(lambda: client.get("/health/ready").status_code == 200, "a replica behind haproxy")

            def serve(count: int) -> None:
                for _ in range(count):
                    assert client.post("/score", json=score("bea")).status_code == 200
                    assert client.post("/reward", json=reward("bea")).status_code == 200

            serve(20)
            one.stop()
            serve(20)
            stats: dict[str, Any] = client.get("/stats/bea").json()
    assert (stats["pulls"], stats["reward_count"]) == (40, 40)
