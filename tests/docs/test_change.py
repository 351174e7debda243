"""docs/change: the row that adds a policy really adds one, and what the pages name is there."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, alike, blocks, commands
from tests.docs.test_run import title
from tests.support.waiting import PATIENCE_SECONDS

CHANGE = ROOT / "docs" / "change"
CONTRIBUTING = (CHANGE / "contributing.md").read_text()
DECISIONS = sorted((CHANGE / "decisions").glob("*.md"))

# Asks a service with the new rows, over ASGI and `memory://`, for all that should follow from them.
PROBE = """
import asyncio, httpx, random, sys
from app.main import create_app
from app.settings import Secret, Settings

async def main():
    settings = Settings(redis_url=Secret("memory://"), policies=sys.argv[1])
    app = create_app(settings, chance=random.Random(1))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        candidates = [{"id": "rent", "features": {"minutes": 30, "priority": 4}}]
        asked = {"user_id": "ann", "id": "1", "loop": "short", "context": {"day_of_week": 5}, "candidates": candidates}
        made = (await client.post("/decisions", json=asked)).json()
        told = (await client.post(f"/decisions/{made['decision_id']}/reward", json={"reward": 1})).json()
        why = (await client.get("/users/ann")).json()["policies"]["short-v1"]
        loops = (await client.get("/loops")).json()["loops"]
        metrics = (await client.get("/metrics")).text
        erased = (await client.delete("/users/ann")).json()
    print(made["policy"], made["candidate_id"], told["outcome"])
    print(why["pulls"], why["reward_count"], *sorted(why["theta"]))
    print(*[loop["champion"] for loop in loops if loop["loop"] == "short"])
    print(*[line for line in metrics.splitlines() if line.startswith("oo_decisions_total") and "short" in line])
    print(*erased["removed"])

asyncio.run(main())
"""
FOLLOWS = """\
short-v1 rent applied
1 1 1 minutes minutes*weekend priority priority*weekend weekend
short-v1
oo_decisions_total{explored="false",policy="short-v1"} 1.0 oo_decisions_total{explored="true",policy="short-v1"} 0.0
oo:{ann}:d oo:{ann}:short-v1 oo:{ann}:t oo:{ann}:u
"""


def toml_block() -> str:
    (found,) = [block.text for block in blocks(CONTRIBUTING) if block.language == "toml"]
    return found


@pytest.mark.parametrize("built_in", [False, True], ids=["own", "built in"])
def test_rows_add_a_policy(tmp_path: Path, built_in: bool) -> None:
    """With the rows of contributing.md in a policy file, or in the built-in one, there are the loop's decisions, its
    metrics, keys and what is known of a user."""
    for name in ("app", "state"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    own = tmp_path / "own.toml"
    own.write_text("" if built_in else toml_block())
    if built_in:
        file = tmp_path / "app" / "policies" / "built_in.toml"
        features, rest = toml_block().split("\n\n", 1)
        file.write_text(file.read_text().replace("[features]", features, 1) + "\n" + rest)
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(own)],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert (done.stdout, done.returncode) == (FOLLOWS, 0), done.stderr


def test_what_contributing_names_is_there() -> None:
    """Every file and folder that the page names exists."""
    named = set(re.findall(r"`((?:app|state|tests|helm|docs)/[\w./-]*)`", CONTRIBUTING))
    assert len(named) > 30
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


def test_commands_of_contributing() -> None:
    """`./dev` has the verbs that the page uses, and pytest runs as the page writes it."""
    help_text = subprocess.run([ROOT / "dev", "--help"], check=True, capture_output=True, text=True).stdout
    for block in blocks(CONTRIBUTING):
        if block.language == "console":
            for command, shown in commands(block.text):
                words = command.split()
                if words[0] == "./dev":
                    assert f"./dev {words[1]} " in help_text
                    continue
                words[0] = words[0].replace(".venv/bin/python", sys.executable)
                done = subprocess.run(words, cwd=ROOT, check=False, capture_output=True, text=True)
                assert done.returncode == 0, done.stdout
                assert alike(shown, done.stdout)


def test_rooms_of_tests_are_listed() -> None:
    """Each folder of tests has its row."""
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/__init__.py")}
    assert set(re.findall(r"^\| `tests/(\w+)` \|", CONTRIBUTING, re.MULTILINE)) >= folders - {"system"}


@pytest.mark.parametrize("page", DECISIONS, ids=title)
def test_a_decision_has_its_parts(page: Path) -> None:
    """Its number and title, date, context, decision, numbers and consequences, on one page."""
    text = page.read_text()
    assert text.startswith(f"# {int(page.name[:4])}. ")
    assert re.search(r"^20\d\d-\d\d-\d\d", text, re.MULTILINE)
    assert len(text.split()) < 800
    if page.name != "0004-by-hand.md":  # a table of many small ones
        assert re.findall("^## (.+)$", text, re.MULTILINE)[:4] == ["Context", "Decision", "Numbers", "Consequences"]
