"""Who may call what: keys over HTTP, as operators give them out, exchange and take them back."""

import http.client
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from app.http.api_keys import ROLES, Role, make_key
from tests.support.bodies import reward, score
from tests.support.processes import Server, free_port
from tests.support.redis_servers import RedisServer, redis_server
from tests.support.service import service
from tests.support.waiting import ServerError, until

KEYS: dict[str, str] = {}
LINES: list[str] = []
for _role in ROLES:
    KEYS[_role], _line = make_key(f"the-{_role}", _role)
    LINES.append(_line)

# Every kind of route with a body it takes, and who may call it.
CALLS: list[tuple[str, str, object, Role]] = [
    ("POST", "/score", score(), "client"),
    ("POST", "/score/egreedy", score(), "client"),
    ("POST", "/reward/egreedy/v2", reward(), "client"),
    ("POST", "/generate", {"user_id": "ann"}, "client"),
    ("GET", "/prompts", None, "client"),
    ("GET", "/stats/ann", None, "reader"),
    ("GET", "/stats/egreedy", None, "reader"),
    ("GET", "/stats/egreedy/v2/ann", None, "reader"),
    ("GET", "/features/ann", None, "reader"),
    ("POST", "/reset/ann", None, "admin"),
    ("DELETE", "/users/ann", None, "admin"),
]
OPEN = ["/health", "/health/live", "/health/ready", "/metrics", "/schema", "/schema/openapi.json"]


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture(scope="module")
def guarded() -> Iterator[Server]:
    """A service whose keys stand in the variable."""
    with service({"API_KEYS": "\n".join(["# given out in autumn", "", *LINES]), "ACCESS_LOG": "all"}) as server:
        yield server


def client_of(server: Server) -> httpx.Client:
    """With a connection for each request: one that is kept for 5 s is closed just when a busy machine uses it again."""
    return httpx.Client(base_url=server.url, timeout=60, limits=httpx.Limits(max_keepalive_connections=0))


def status(server: Server, key: str) -> int:
    """What a reader's request with this key, over a connection of its own, is answered."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request("GET", "/stats/ann", headers=bearer(key))
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize(("method", "path", "body", "role"), CALLS, ids=[call[1] for call in CALLS])
def test_a_role_may_do_its_own(guarded: Server, method: str, path: str, body: object, role: Role) -> None:
    """Each route lets in the keys of one role; those of others are answered 403, and 401 who has none."""
    with client_of(guarded) as client:
        for other in ROLES:
            answer = client.request(method, path, json=body, headers=bearer(KEYS[other]))
            if other == role:
                # /generate got as far as to miss its language model.
                assert answer.status_code == (503 if path == "/generate" else 200)
            else:
                assert answer.status_code == 403
                assert answer.json() == {"detail": f"this needs a key with the role {role}"}
        answer = client.request(method, path, json=body)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert answer.json() == {"detail": "an API key is needed as a bearer token"}


@pytest.mark.parametrize(
    "credentials",
    [
        b"",
        b"Bearer",
        b"Bearer nonsense",
        b"Basic " + KEYS["reader"].encode(),
        KEYS["reader"].encode(),
        b"Bearer " + KEYS["reader"].encode()[:-1],
        b"Bearer " + KEYS["reader"].encode() + b"x",
        b"Bearer " + LINES[1].encode(),
        b"Bearer " + LINES[1].rpartition(":")[2].encode(),
        b"Bearer \xff\xfe",
        b"Bearer " + b"x" * 8_000,
    ],
    ids=lambda _: "",
)
def test_other_credentials_are_refused(guarded: Server, credentials: bytes) -> None:
    """Neither a part of a key, nor what the operator stored of it, nor another scheme opens anything."""
    answer = httpx.get(f"{guarded.url}/stats/ann", headers={b"authorization": credentials}, timeout=60)
    assert answer.status_code == 401


def test_the_scheme_is_read_in_any_case(guarded: Server) -> None:
    """Bearer may be written as clients like it."""
    answer = httpx.get(f"{guarded.url}/stats/ann", headers={"Authorization": f"bEARER  {KEYS['reader']}"}, timeout=60)
    assert answer.status_code == 200


@pytest.mark.parametrize("path", OPEN)
def test_probes_metrics_and_reference_need_no_key(guarded: Server, path: str) -> None:
    """What machines ask and people read is there without a key."""
    # A probe of a store that a busy machine keeps waiting says 503.
    until(lambda: httpx.get(f"{guarded.url}{path}", timeout=60).status_code == 200, "answered")


def test_a_refusal_reads_no_body(guarded: Server) -> None:
    """Who has no key learns nothing of what the service would have said of the body."""
    assert httpx.post(f"{guarded.url}/score", content=b"{", timeout=60).status_code == 401


def test_keys_are_nowhere_in_the_log(guarded: Server) -> None:
    """Neither a key nor its digest nor a refused one is logged, though every request is."""
    line = '"route":"/stats/{user_id}","status":401'
    before = guarded.log.count(line)
    status(guarded, KEYS["reader"])
    status(guarded, "a-wrong-key")
    until(lambda: guarded.log.count(line) > before, "a line of the refusal")
    log = guarded.log
    for secret in (*KEYS.values(), *(line.rpartition(":")[2] for line in LINES), "a-wrong-key"):
        assert secret not in log


def test_the_log_says_whose_key_it_was(guarded: Server) -> None:
    """A request's line has the name of its key, also when the key may not do this; none where there was none."""
    headers = bearer(KEYS["reader"]) | {"X-Request-ID": "whose-1"}
    with client_of(guarded) as client:
        assert client.get("/stats/ann", headers=headers).status_code == 200
        assert client.post("/reset/ann", headers=headers | {"X-Request-ID": "whose-2"}).status_code == 403
        assert client.get("/stats/ann", headers={"X-Request-ID": "whose-3"}).status_code == 401

    def names() -> dict[str, str | None]:
        lines = [json.loads(line) for line in guarded.log.splitlines() if "whose-" in line]
        return {line["request_id"]: line.get("key") for line in lines}

    until(lambda: len(names()) == 3, "a line of each")
    assert names() == {"whose-1": "the-reader", "whose-2": "the-reader", "whose-3": None}


def test_an_open_service_says_so() -> None:
    """Without keys everyone may do everything, and the start says so; a limit then has no key to count for."""
    with service({"RATE_LIMIT_PER_SECOND": "1"}) as server:
        assert httpx.post(f"{server.url}/reset/ann", timeout=60).status_code == 200
        assert "API_KEYS is empty: everyone who can reach this service may use and reset it" in server.log
        assert "RATE_LIMIT_PER_SECOND has no effect" in server.log


@pytest.fixture
def store() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.mark.parametrize("workers", ["1", "2"])
def test_keys_are_exchanged_without_a_restart(store: RedisServer, tmp_path: Path, workers: str) -> None:
    """A file of comments lets no caller in. After SIGHUP to the service's process it counts as it is now, and
    old and new key are valid together; a file with a bad line changes nothing. No request fails meanwhile."""
    path = tmp_path / "keys"
    old, old_line = make_key("phone", "reader")
    new, new_line = make_key("phone", "reader")
    path.write_text("# none yet\n")
    environ = {"API_KEYS": str(path), "WORKERS": workers, "REDIS_URL": store.url, "STORE_TIMEOUT_SECONDS": "60"}
    with service(environ) as server:

        def codes(key: str) -> set[int]:
            """What several requests with `key` are answered, each over a connection of its own."""
            return {status(server, key) for _ in range(8)}

        def until_all_say(text: str, times: int = 1) -> None:
            """Until each process has said this so often; requests of one might all meet another."""

            def said() -> bool:
                assert codes(old) | codes(new) <= {200, 401}
                return server.log.count(text) == times * int(workers)

            until(said, text)

        assert "everyone who can reach" not in server.log
        assert "API_KEYS has no keys: every request is answered 401" in server.log
        assert status(server, old) == 401
        path.write_text(old_line)
        os.kill(server.pid, signal.SIGHUP)
        until_all_say("API_KEYS read again: 1 keys")
        assert (codes(old), codes(new)) == ({200}, {401})
        path.write_text(f"{old_line}\n{new_line}\n")
        os.kill(server.pid, signal.SIGHUP)
        until_all_say("API_KEYS read again: 2 keys")
        assert (codes(old), codes(new)) == ({200}, {200})
        path.write_text(f"{new_line}\nnonsense\n")
        os.kill(server.pid, signal.SIGHUP)
        until_all_say("line 2 is not name:role:sha256")
        assert (codes(old), codes(new)) == ({200}, {200})
        path.write_text(new_line)
        os.kill(server.pid, signal.SIGHUP)
        until_all_say("API_KEYS read again: 1 keys", times=2)
        assert (codes(old), codes(new)) == ({401}, {200})
        assert server.stop() == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_hangup_amid_the_start(store: RedisServer, tmp_path: Path, workers: str) -> None:
    """SIGHUP before the service can take it is kept until it can: it ends no process, and the file is read again."""
    path, later = tmp_path / "keys", tmp_path / "later"
    os.mkfifo(path)
    key, line = make_key("phone", "reader")
    later.write_text(line)
    opened: list[int] = []

    def reads_its_keys(_: Server) -> bool:
        with suppress(OSError):
            opened.append(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        return bool(opened)

    port = free_port()
    environ = {"API_KEYS": str(path), "WORKERS": workers, "REDIS_URL": store.url, "PORT": str(port)}
    server = Server(
        [sys.executable, "-m", "app"],
        port=port,
        url=f"http://127.0.0.1:{port}",
        directory=tmp_path,
        ready=reads_its_keys,
        environ={**os.environ, **environ, "DRAIN_SECONDS": "0"},
    )
    try:
        server.start()
        os.kill(server.pid, signal.SIGHUP)
        later.rename(path)
        os.write(opened[0], LINES[0].encode())
        os.close(opened[0])
        until(lambda: server.log.count("API_KEYS read again: 1 keys") == int(workers), "read again")
        until(lambda: "startup complete" in server.log, "started")
        assert "died" not in server.log
        until(lambda: opens(server, key), "the key opens")
        assert server.stop() == 0
    finally:
        server.kill()


def opens(server: Server, key: str) -> bool:
    try:
        return status(server, key) == 200
    except ConnectionRefusedError:
        return False


def test_a_new_worker_without_keys(store: RedisServer, tmp_path: Path) -> None:
    """A worker that takes another's place while the file is bad says so in one line and ends; the next one after it is
    mended serves."""
    path = tmp_path / "keys"
    path.write_text("\n".join(LINES))
    with service({"API_KEYS": str(path), "WORKERS": "2", "REDIS_URL": store.url}) as server:

        def started() -> list[int]:
            lines = [json.loads(line)["message"] for line in server.log.splitlines()]
            return [int(line.split("[")[1][:-1]) for line in lines if line.startswith("Started server process [")]

        until(lambda: len(started()) == 2, "both workers")
        path.write_text("nonsense")
        os.kill(started()[0], signal.SIGKILL)
        until(lambda: "API_KEYS: line 1 is not name" in server.log, "the bad line is told")
        path.write_text("\n".join(LINES))
        until(lambda: len(started()) == 3, "another worker")
        said = [json.loads(line) for line in server.log.splitlines()]
        assert {line["level"] for line in said if "line 1 is not" in line["message"]} == {"critical"}
        assert server.stop() == 0


def test_what_is_no_key_stops_the_start() -> None:
    """A service does not start with a line that is no key: it says so in one line and ends."""
    with pytest.raises(ServerError, match="ended at start") as caught, service({"API_KEYS": f"{LINES[0]}\nbad"}):
        pass
    assert str(caught.value).splitlines()[-1] == (
        "API_KEYS: line 2 is not name:role:sha256 with a role of client, reader, admin"
    )
