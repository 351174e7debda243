"""docs/run: its commands are run as a reader would type them, and print what the pages show.

A block that cannot be run here says what it needs, in a comment above it: `<!-- needs: Kubernetes -->`.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import numpy as np
import pytest

from tests.docs.pages import PAGES, ROOT, Block, alike, anchors, blocks, commands, links
from tests.support.bodies import reward, score
from tests.support.processes import Server, program
from tests.support.redis_servers import RedisServer, redis_server
from tests.support.service import service
from tests.support.waiting import PATIENCE_SECONDS

RUN = ROOT / "docs" / "run"
# The other pages are run by test_commands.py.
OURS = [RUN / f"{name}.md" for name in ("kubernetes", "moving", "observability", "operations", "runbook")]
CHECKED = [*OURS, *sorted((ROOT / "docs" / "change").rglob("*.md")), ROOT / "helm" / "README.md"]
RUNNABLE = ("console", "sh")
# What a block may need that a test does not have.
NEEDS = {
    "Kubernetes or Docker",
    "Kubernetes",
    "NATS",
    "a LiteLLM proxy",
    "a collector",
    "minutes",
    "the tools that ./dev installs",
}
# A busy machine makes no command fail that should succeed.
PATIENT = {"STORE_TIMEOUT_SECONDS": "30"}


def title(page: Path) -> str:
    return str(page.relative_to(ROOT))


# Links


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_links_lead_somewhere(page: Path) -> None:
    """Every file that a page links to is there, and has the heading that the link names."""
    broken = []
    for link in links(page.read_text()):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target.read_text())):
            broken.append(link)
    assert broken == []


def test_links_are_read() -> None:
    """The reader knows GitHub's anchors, and takes neither examples nor addresses for links."""
    text = "# A `b` & [c](d.md#e)\n\n## A\n\n## A\n\n[x](http://y) [z](#a)\n```md\n# No\n[no](no.md)\n```\n"
    assert links(text) == ["d.md#e", "#a"]
    assert anchors(text) == {"a-b--c", "a", "a-1"}


def test_every_page_can_be_reached() -> None:
    """From the README and the pages that it links to, a reader comes to every page."""
    reached, to_do = set(), [ROOT / "README.md"]
    while to_do:
        page = to_do.pop().resolve()
        if page in reached or page.suffix != ".md" or not page.exists():
            continue
        reached.add(page)
        to_do += [page.parent / link.partition("#")[0] for link in links(page.read_text())]
    assert [title(page) for page in PAGES if page not in reached] == []


# Commands


@pytest.fixture(scope="module")
def place() -> Iterator[tuple[Server, RedisServer]]:
    """A service and its Redis, both new."""
    environ = {"ACCESS_LOG": "all", "LOG_FORMAT": "json", **PATIENT}
    with redis_server() as store, service({"REDIS_URL": store.url, **environ}) as served:
        yield served, store


def fill(served: Server, store: RedisServer) -> None:
    """Leave in Redis what ann and bea have after three decisions and rewards each, and nothing else."""
    store.command("FLUSHALL")
    with httpx.Client(base_url=served.url, timeout=PATIENCE_SECONDS) as client:
        for user in ("ann", "bea"):
            for number, value in enumerate((1.0, -0.5, 0.3)):
                told = reward(user, value, hour_of_day=8 + number)
                client.post("/score", json=score(user, 1 + number)).raise_for_status()
                client.post("/reward", json=told, headers={"Idempotency-Key": f"mail-{number}"}).raise_for_status()


@pytest.fixture(scope="module")
def rights() -> list[str]:
    """The words of the command that docs/run/operations.md gives for a user of the service, and for `python -m app`."""
    text = (RUN / "operations.md").read_text()
    [command] = re.findall(r"^redis-cli (ACL SETUSER (?:.*\\\n)*.*)$", text, re.MULTILINE)
    [more] = re.findall(r"^\| the commands of .+ \| `(.+)` \|$", text, re.MULTILINE)
    return [*shlex.split(command.replace("\\\n", " ")), *more.split()]


@pytest.fixture(scope="module")
def shell(place: tuple[Server, RedisServer], rights: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like the checkout, whose `bin` has curl for localhost:8000, redis-cli and python."""
    served, store = place
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("app", "state", "helm", "tests", "docs"):
        (folder / name).symlink_to(ROOT / name)
    assert store.command(*rights) == "OK"
    own = f"redis://oo-serving:PASSWORD@127.0.0.1:{store.port}"
    (folder / "bin").mkdir()
    for name, words in {
        "curl": f"curl --connect-to localhost:8000:127.0.0.1:{served.port}",
        "redis-cli": f"redis-cli -p {store.port}",
        "python": f"env REDIS_URL={own} {sys.executable}",
        "promtool": program("promtool"),
    }.items():
        path = folder / "bin" / name
        path.write_text(f'#!/bin/sh\nPATH="$REAL_PATH" exec {words} "$@"\n')
        path.chmod(0o755)
    first_system(folder)
    return folder


def first_system(folder: Path) -> None:
    """The files of the first system that docs/run/moving.md imports."""
    (folder / "old-state").mkdir()
    for name, d in {
        "dora": 5,
        "dora_egreedy": 7,
        "dora_egreedy_v2": 12,
        "emil": 5,
        "emil_egreedy": 5,
        "x_y": 5,
    }.items():
        model = {"A": np.eye(d).tolist(), "b": [0.5] * d, "meta": {"pulls": 3}}
        (folder / "old-state" / f"{name}.json").write_text(json.dumps(model))
    (folder / "old-state" / "cy.json").write_text('{"A": [[1, 0')
    (folder / "ids.txt").write_text("dora\nemil_egreedy\nx_y\nx y\n")


def run(command: str, folder: Path, pid: int) -> subprocess.CompletedProcess[str]:
    environ = {
        **os.environ,
        "REAL_PATH": os.environ["PATH"],
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "PID": str(pid),
    }
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environ,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_SECONDS,
    )


def runnable(page: Path) -> list[Block]:
    return [block for block in blocks(page.read_text()) if block.language in RUNNABLE and block.needs is None]


@pytest.mark.parametrize("page", [page for page in OURS if runnable(page)], ids=title)
def test_commands_print_what_is_shown(page: Path, shell: Path, place: tuple[Server, RedisServer]) -> None:
    """All commands of a page, one after the other, print what it shows."""
    fill(*place)
    (shell / "serving.log").write_text(place[0].log)
    for block in runnable(page):
        steps = commands(block.text) if block.language == "console" else [(block.text, "...")]
        for command, shown in steps:
            done = run(command, shell, place[0].pid)
            printed = done.stdout.replace(f"127.0.0.1:{place[1].port}", "localhost:6379")
            said = f"$ {command}\n{printed}\n--- the page shows\n{shown}"
            # `import` takes files in the order in which the directory has them.
            order = ordered if " import " in command else str
            assert alike(order(shown), order(printed)), said
            assert done.returncode == 0 or shown.strip() not in ("", "..."), said


def ordered(text: str) -> str:
    return "\n".join(sorted(text.splitlines()))


def test_rights_of_commands_are_enough_and_none_too_many(
    place: tuple[Server, RedisServer], shell: Path, rights: list[str]
) -> None:
    """With the rights that operations.md gives, `python -m app` is denied nothing, and uses each that only it has."""
    served, store = place
    store.command(*rights)
    fill(served, store)
    store.command("HSET", "oo:columns:used", f"tips-v3\nold\n{'0' * 16}", 1)
    store.command("ACL", "LOG", "RESET")
    store.command("CONFIG", "RESETSTAT")
    for words, code in {
        "import old-state": 1,  # leaves files out
        "export all.gz": 0,
        "erase ann --yes": 0,
        "restore all.gz": 0,
        "restore all.gz --overwrite": 0,
        "show ann": 0,
        "policies": 0,
        "policies --prune": 0,
        "prior": 0,
        "settle": 0,
    }.items():
        done = run(f"python -m app {words}", shell, served.pid)
        assert done.returncode == code, done.stdout
    with store.client(decode_responses=True) as admin:
        used = {name.removeprefix("cmdstat_") for name in admin.info("commandstats")}
    assert store.command("ACL", "LOG") == []
    more = rights[rights.index("+wait") + 1 :]
    assert [word for word in more if word[1:] not in used] == []


@pytest.mark.parametrize("page", CHECKED, ids=title)
def test_commands_that_are_not_run_say_why(page: Path) -> None:
    """A block is run by a test, or names what it needs; a mark stands where there is something to mark."""
    text = page.read_text()
    marked = {block.needs for block in blocks(text) if block.language in RUNNABLE and block.needs}
    assert marked <= NEEDS
    assert len(re.findall("<!-- needs: ", text)) == sum(block.needs is not None for block in blocks(text)) or (
        "every command needs: " in text
    )
    if page not in OURS and page.name != "contributing.md":
        assert runnable(page) == []


def test_commands_are_told_from_output() -> None:
    """Commands begin with `$`; a quotation or a backslash carries them on. Times and sizes do not matter, words do."""
    text = "$ a 'b\nc'\nd\n$ e \\\n  f\n$ g\n"
    assert list(commands(text)) == [("a 'b\nc'", "d"), ("e \\\n  f", ""), ("g", "")]
    assert alike("one ...\n...\nlast 1,024 bytes", "one two\n3\n4\nlast 900 bytes")
    assert not alike("one", "two")
    assert not alike("one ...", "one\ntwo")


def test_queries_are_promql(tmp_path: Path) -> None:
    """Prometheus can parse every query of the pages."""
    queries = [block.text for page in OURS for block in blocks(page.read_text()) if block.language == "promql"]
    assert len(queries) > 8
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
    path = tmp_path / "rules.yaml"
    path.write_bytes(msgspec.json.encode({"groups": [{"name": "queries", "rules": rules}]}))
    done = subprocess.run([program("promtool"), "check", "rules", path], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_first_aid_does_no_harm() -> None:
    """No command of the runbook stops, empties or slows down a Redis that is in use."""
    text = (RUN / "runbook.md").read_text()
    shown = "\n".join(block.text for block in blocks(text))
    for word in ("MONITOR", "FLUSH", "KEYS ", "SHUTDOWN", "DEBUG ", "restore", "erase", "CONFIG SET"):
        assert word not in shown, word
