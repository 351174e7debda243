"""The first page."""

from collections.abc import Iterator

import pytest

from app.experiments import health as healths
from app.experiments.verdict import encode
from state.store import Store
from tests.support.decisions import one_memory
from tests.unit.app.console.scene import busy
from tests.unit.app.experiments.scene import gate, verdict
from tests.unit.app.serving import serving

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def store() -> Iterator[Store]:
    """What services of a test have in common."""
    with one_memory() as servers:
        yield Store(servers.open("memory://"), timeout=60.0, history_size=10, marker_seconds=60)


async def judge(store: Store, problems: list[str]) -> None:
    found = verdict(gate(-0.1, 0.2), policy="tips-v3", champion="egreedy-v1")
    await store.loops.keep_evidence("tips", encode(found), lambda _: healths.encode(busy(problems=problems)))


async def test_before_judge_ran() -> None:
    """Who serves, what is missing, and the health of the replica."""
    async with serving() as client:
        page = (await client.get("/console")).text
    assert '<a href="console/loops/tips">tips</a>' in page
    assert "linucb-v1, egreedy-v2, tips-v3" in page
    assert "python -m app judge" in page
    assert "<svg" not in page
    assert "Redis answers in" in page


async def test_what_judge_counted(store: Store) -> None:
    """The last day in the table, the last three by hour as plots and as a table; what is wrong stands first."""
    await judge(store, ["its rewards are <lost>"])
    async with serving() as client:
        page = ""
        while "<svg" not in page:  # the replica reads it soon after its start
            page = (await client.get("/console")).text
    assert "its rewards are &lt;lost&gt;" in page
    assert "No evidence yet" not in page
    assert (page.count("<svg class"), page.count("<tr>")) == (3, 2 + 1 + 72)
    assert "90\xa0%" in page  # joined
    assert len(page.encode()) < 200_000
