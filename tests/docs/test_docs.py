"""README.md against the code: commands give what it shows, tables say what is there.

Tables are written by `.venv/bin/python -m tests.docs.test_docs`.
"""

import functools
import os
import re
import shlex
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import httpx
import msgspec
import pytest

from app.http.api_keys import ROLES, make_key
from app.settings import Secret, Settings, takes
from tests.support.bodies import reward, score
from tests.support.faults import Proxy
from tests.support.processes import Server, free_port, http_answers
from tests.support.proxies import haproxy
from tests.support.redis_servers import RedisServer, redis_server
from tests.support.service import service
from tests.support.waiting import PATIENCE_SECONDS, until

ROOT = Path(__file__).parent.parent.parent
README = ROOT / "README.md"
TEXT = README.read_text()
# A busy machine shall make no request fail that should succeed.
PATIENT = {"STORE_TIMEOUT_SECONDS": "30"}
# A time, as text or in Unix seconds.
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ|\b1[789]\d{8}\b")
FLOAT = re.compile(r"\d+\.\d+(e[-+]\d+)?")


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


# Tables


def default(value: object) -> str:
    """A default as it would stand in the environment."""
    if isinstance(value, Secret):
        value = value.reveal()
    if isinstance(value, bool):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"`{value}`" if value != "" else "empty"


def settings_table() -> str:
    """One row per field of Settings."""
    rows = ["| variable | default | takes | is |", "| --- | --- | --- | --- |"]
    hints = get_type_hints(Settings, include_extras=True)
    for name, hint in hints.items():
        described = msgspec.inspect.type_info(hint)
        assert isinstance(described, msgspec.inspect.Metadata), f"{name} has no description"
        text = (described.extra_json_schema or {})["description"]
        rows.append(
            f"| `{name.upper()}` | {default(getattr(Settings(), name))} | {takes(described)} | {text} |".replace(
                "||", "\\|"
            )
        )
    return "\n".join(rows)


@functools.cache
def operations() -> dict[str, dict[str, Any]]:
    """`METHOD /path` of every route in the service's own OpenAPI document, and what it says of it."""
    with service() as server:
        document = httpx.get(f"{server.url}/schema/openapi.json", timeout=PATIENCE_SECONDS).raise_for_status().json()
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def routes_table() -> str:
    """One row per route, with its summary."""
    rows = ["| route | does |", "| --- | --- |"]
    rows += [f"| `{route}` | {operation['summary']} |" for route, operation in operations().items()]
    return "\n".join(rows)


def documents_table() -> str:
    """One row per page of docs/, with its title."""
    rows = []
    for path in sorted((ROOT / "docs").glob("*.md")):
        title = path.read_text().partition("\n")[0].lstrip("# ")
        rows.append(f"- [{title}](docs/{path.name})")
    return "\n".join([*rows, "- [Helm chart](helm/README.md)"])


TABLES = {"settings": settings_table, "routes": routes_table, "documents": documents_table}


def place_of(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- /{name} -->)", re.DOTALL)


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_fresh(name: str) -> None:
    """Every setting, route and document is in the README as the code has it, and none that is not there."""
    found = place_of(name).search(TEXT)
    assert found, f"the README has no place for {name}"
    assert found[0].splitlines() == TABLES[name]().splitlines(), "renew it: .venv/bin/python -m tests.docs.test_docs"


@pytest.mark.parametrize(
    ("page", "prefixes"), [("events", ("NATS_",)), ("generate", ("LITELLM_", "LLM_", "DEFAULT_PROMPT_"))]
)
def test_settings_on_other_pages(page: str, prefixes: tuple[str, ...]) -> None:
    """A page's own table of settings has all that its subject has, with the defaults that they have."""
    text = (ROOT / "docs" / f"{page}.md").read_text()
    table = re.search(r"^\| variable \| default \|.*\n(?:\|.*\n)+", text, re.MULTILINE)
    assert table
    rows = re.findall(r"^\| `([A-Z_]+)` \| ([^|]*) \|", table[0], re.MULTILINE)
    assert len(rows) == len(table[0].splitlines()) - 2
    assert rows == [(name, default(getattr(Settings(), name.lower()))) for name, _ in rows]
    own = {name.upper() for name in Settings.__struct_fields__ if name.upper().startswith(prefixes)}
    assert own <= dict(rows).keys()


def test_every_error_is_explained() -> None:
    """The README says what each status means that some route answers, and those of what reaches no route."""
    table = re.search(r"^\| status \| means \|\n(.*?)\n\n", TEXT, re.MULTILINE | re.DOTALL)
    assert table
    said = set(re.findall(r"\b[45]\d\d\b", " ".join(row.split("|")[1] for row in table[1].splitlines())))
    answered = {status for operation in operations().values() for status in operation["responses"]}
    assert said == (answered - {"200"}) | {"400", "404", "405", "408", "431"}


def test_links_lead_somewhere() -> None:
    """Every file that a page of ours links to is there."""
    for page in [README, *sorted((ROOT / "docs").glob("*.md"))]:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


# Commands


@pytest.fixture(scope="module")
def place() -> Iterator[tuple[Server, RedisServer]]:
    """A service and its Redis, both new."""
    with redis_server() as store, service({"REDIS_URL": store.url, **PATIENT}) as served:
        yield served, store


@pytest.fixture(scope="module")
def shell(place: tuple[Server, RedisServer], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which localhost:8000 is the service and redis-cli speaks to its Redis."""
    served, store = place
    folder = tmp_path_factory.mktemp("bin")
    for name, words in {
        "curl": f"--connect-to localhost:8000:127.0.0.1:{served.port}",
        "redis-cli": f"-p {store.port}",
    }.items():
        path = folder / name
        path.write_text(f'#!/bin/sh\nPATH="$REAL_PATH" exec {name} {words} "$@"\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return {**os.environ, "REAL_PATH": os.environ["PATH"], "PATH": f"{folder}:{os.environ['PATH']}"}


def commands() -> list[tuple[str, str]]:
    """Every command of the `console` blocks, and what the README shows that it prints."""
    found: list[tuple[str, str]] = []
    for block in blocks("console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            lines = part.splitlines()
            end = 1
            # A quoted argument may go on over several lines.
            while "\n".join(lines[:end]).count("'") % 2:
                end += 1
            found.append(("\n".join(lines[:end]), "\n".join(lines[end:])))
    return found


def steady(text: str) -> str:
    """Text without what differs between runs and machines: times, and digits of a float beyond the ninth."""
    text = TIME.sub("<time>", text.strip())
    return FLOAT.sub(lambda number: f"{float(number[0]):.9g}", text)


def alike(shown: str, printed: str) -> bool:
    """Whether the output is what is shown, where `...` stands for anything within a line."""
    pattern = re.escape(steady(shown)).replace(re.escape("..."), ".*")
    return re.fullmatch(pattern, steady(printed)) is not None


def test_commands_print_what_is_shown(shell: dict[str, str]) -> None:
    """All commands of the README, one after the other as a reader would type them, print what it says."""
    found = commands()
    assert len(found) >= 12
    for command, shown in found:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=ROOT,
            env=shell,
            check=True,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )
        assert alike(shown, done.stdout), f"$ {command}\n{done.stdout}\n--- the README shows\n{shown}"


def test_what_is_shown_can_be_wrong() -> None:
    """The comparison lets times, dots and last digits pass, and nothing else."""
    assert alike('{"a":...,"t":"2026-11-23T12:34:56Z"}', '{"a":[1,2],"t":"2027-01-01T00:00:00Z"}\n')
    assert alike("1.7349351572897473", "1.7349351572897471")
    assert not alike("1.73493515", "1.73493516")
    assert not alike('{"a":1}', '{"a":2}')
    assert not alike("one ...", "one\ntwo")


def test_dev_run_serves(real_redis: RedisServer, tmp_path: Path) -> None:
    """`./dev run` as the README writes it serves, on the embedded store and on a Redis that is named."""
    (plain, *_), (redis,), (named,) = (block.splitlines() for block in blocks("sh")[:3])
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


def test_rights_in_redis_are_enough_and_none_too_many() -> None:
    """With the rights that docs/run/operations.md gives a user of Redis every route that needs Redis works, also when a
    reply of Redis is lost; nothing is denied, and each of the commands is really used."""
    text = (ROOT / "docs" / "operations.md").read_text()
    [command] = re.findall(r"^redis-cli (ACL SETUSER (?:.*\\\n)*.*)$", text, re.MULTILINE)
    words = shlex.split(command.replace("\\\n", " "))
    made: dict[str, tuple[str, str]] = {role: make_key(role, role) for role in ROLES}
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
                ("reader", "GET", "/stats/ann", None, {}),
                ("reader", "GET", "/features/ann", None, {}),
                ("admin", "POST", "/reset/ann", None, {}),
                ("admin", "DELETE", "/users/ann", None, {}),
            ]:
                key = {"Authorization": f"Bearer {made[role][0]}"}
                answer = client.request(method, path, json=body, headers=key | headers)
                assert answer.status_code == 200, (path, answer.text)
            # What INFO is for happens in the background, perhaps later than all of this.
            until(lambda: "Redis has appendonly no" in server.log, "Redis asked how it is set up")
        with store.client(decode_responses=True) as admin:
            used = {name.removeprefix("cmdstat_") for name in admin.info("commandstats")}
        assert store.command("ACL", "LOG") == []
    assert {word[1:] for word in words if word.startswith("+")} - used == set()


def test_replicas_behind_haproxy(place: tuple[Server, RedisServer]) -> None:
    """The load balancer's configuration works as written, but for addresses: both replicas serve one user, and one of
    them may stop without a failed request."""
    _, store = place
    (config,) = blocks("haproxy")
    # On a busy machine Redis may need longer than a probe gives it, and a probe longer than HAProxy gives it: no
    # replica shall be left for that. This one leaves those that say so, or are gone.
    asked = "    option httpchk GET /health/ready\n"
    assert asked in config
    config = config.replace(asked, f"{asked}    http-check expect ! string stopping\n    timeout check 60s\n")
    environ = {"REDIS_URL": store.url, **PATIENT}
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


if __name__ == "__main__":
    for name, table in TABLES.items():
        TEXT = place_of(name).sub(f"{table()}\n".replace("\\", r"\\"), TEXT)
    README.write_text(TEXT)
