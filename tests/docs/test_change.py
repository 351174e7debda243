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

# Asks a service with the new row, over ASGI and `memory://`, for all that should follow from it.
PROBE = """
import asyncio, httpx
from app.policies.catalog import SIZES, policies
from app.main import create_app
from app.settings import Secret, Settings
from state import keys

async def main():
    app = create_app(Settings(redis_url=Secret("memory://")))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        features = {"is_overdue": True, "task_age_days": 3, "priority": 2}
        context = {"hour_of_day": 9, "day_of_week": 1}
        candidates = [{"id": "rent", "content": "", "source": "", "source_id": "", "features": features | context}]
        asked = {"user_id": "ann", "candidates": candidates, "context": context}
        told = {"user_id": "ann", "tip_id": "rent", "reward": 1, "features": features | context, "day_of_week": 1}
        score = await client.post("/score/egreedy/v3", json=asked)
        reward = await client.post("/reward/egreedy/v3", json=told, headers={"Idempotency-Key": "1"})
        stats = (await client.get("/stats/egreedy/v3/ann")).json()
        metrics = (await client.get("/metrics")).text
        reference = (await client.get("/schema/openapi.json")).json()
        erased = (await client.delete("/users/ann")).json()
    print(score.status_code, score.json()["policy"], reward.status_code)
    print(stats["policy"], stats["pulls"], stats["reward_count"], stats["feature_labels"][-1], len(stats["theta"]))
    print(*[line for line in metrics.splitlines() if line.startswith("oo_rewards_total") and 'v3",value="1"' in line])
    print(*[line for line in metrics.splitlines() if line.startswith("oo_policy_epsilon") and "v3" in line])
    print(*erased["removed"])
    print("/score/egreedy/v3" in reference["paths"], SIZES["egreedy-v3"], "egreedy-v3" in keys.fixed(policies()))

asyncio.run(main())
"""
FOLLOWS = """\
200 egreedy-v3 200
egreedy-v3 1 1 hour_cos*priority 11
oo_rewards_total{policy="egreedy-v3",value="1"} 1.0
oo_policy_epsilon{policy="egreedy-v3"} 0.1
oo:{ann}:egreedy-v3 oo:{ann}:egreedy-v3:once:1 oo:{ann}:history oo:{ann}:once
True 11 True
"""


def python_block() -> str:
    (found,) = [block.text for block in blocks(CONTRIBUTING) if block.language == "python"]
    return found


def test_a_row_adds_a_policy(tmp_path: Path) -> None:
    """With the row of contributing.md in the catalog there are its routes, its place in the reference, its metrics and
    keys."""
    for name in ("app", "state"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    catalog = tmp_path / "app" / "bandit" / "catalog.py"
    before, end, after = catalog.read_text().partition("    )\n\n\ndef by_id")
    assert end
    catalog.write_text(f"{before}{python_block().rstrip()},\n{end}{after}")
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
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
