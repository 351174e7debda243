"""Evidence as a table, as sentences and as a page."""

import re
from functools import cache

import numpy as np
import pytest
from msgspec.structs import replace

from app.evaluation.evidence import Evidence, evidence
from app.report.evidence import lead, notes, page, table, verdicts
from app.report.page import Figure, Grid, Notes, html
from app.report.plots import Lines
from tests.unit.app.evaluation.logs import logged, made

HOUR = 490_000  # 2025-11-24 16:00
LATE = HOUR + np.arange(4_000) * 50 // 4_000


@cache
def sound() -> Evidence:
    return evidence(made(hour=LATE), "push")


def wrong() -> Evidence:
    """The log says that it explores less than it did since the hour 30."""
    c = made().by_policy["champion"].reshape(-1, 4)
    return evidence(made(hour=LATE, drawn_from=np.where(np.arange(4_000)[:, None] >= 2_400, 0.25, c)), "push")


def test_the_table() -> None:
    """What was served, then each policy with its estimates and how it stands to the champion, then the baselines."""
    found, made_of = table(sound()), sound()
    assert [row[0] for row in found.rows] == ["what was served", "champion", "challenger", "uniform", "first"]
    assert found.faint == {3, 4}
    assert {len(row) for row in found.rows} == {len(found.header)}
    assert found.rows[0][1] == found.rows[1][1]
    challenger = made_of.policies["challenger"]
    assert challenger.snips is not None
    assert challenger.gate is not None
    assert found.rows[2][1].startswith(f"{challenger.snips.estimate:.3f} ± 0.0")
    assert found.rows[2][4:] == [
        f"{challenger.ess:,.0f}",
        f"{challenger.gate.low:+.3f} to {challenger.gate.high:+.3f}",
        "–",  # noqa: RUF001  # a dash
    ]
    assert found.rows[1][5:] == found.rows[3][5:] == ["–", "–"]  # noqa: RUF001  # dashes
    assert list(notes(made_of)) == []


def test_refusals_are_told() -> None:
    """Why, since when, what would help, and how much more; the table says that there is no estimate."""
    told = list(notes(wrong()))
    assert {row[1] for row in table(wrong()).rows[1:]} == {"refused"}
    assert [about for about, text in told if "(draws)" in text] == ["champion", "challenger", "uniform", "first"]
    assert re.search(
        r"^refused \(draws\): what was .* since 2025-11-25 2[0-3]:00 UTC\. What would help: find", told[0][1]
    )

    small = dict(notes(evidence(made(400, hour=np.arange(400) // 8), "push")))
    assert re.search(r"worth only [\d.]+ of .*, or more decisions; about \d+ more decisions\.$", small["challenger"])


def test_warnings_and_the_gate_are_told() -> None:
    """Also without an interval, and where too many outcomes are missing."""
    log = made(reward=np.where(np.arange(4_000) % 50 == 0, np.nan, 1.0))
    found = evidence(log, "push")
    assert ("challenger", "no gate: 2.0% of its decisions have no outcome, and silence does not count as one.") in [
        *notes(found)
    ]
    assert ("challenger", "80 decisions without an outcome were left out.") in [*notes(found)]
    assert table(found).rows[2][5:] == ["–", "–"]  # noqa: RUF001  # dashes
    alone = evidence(made(user=np.zeros(4_000, np.uint64), hour=np.zeros(4_000, np.int64)), "push")
    assert "±" not in "".join(table(alone).rows[2])
    assert ("champion", "There is no interval: it takes 20 users, or as many hours.") in [*notes(alone)]


def test_verdicts() -> None:
    """One sentence for each challenger that has a gate: better, worse, or not decided and how much more it takes."""

    def of(**gate: float | str | None) -> list[tuple[str, str]]:
        found = sound()
        judged = found.policies["challenger"]
        assert judged.gate is not None
        judged = replace(judged, gate=replace(judged.gate, **{"needed": None, "n": 5} | gate))
        return [*verdicts(replace(found, policies=found.policies | {"challenger": judged}))]

    between = "not decided: for each decision it earns between 0.010 less and 0.020 more than champion"
    assert of(low=0.01, high=0.5) == [
        ("challenger", "better than champion: it earns at least 0.010 more for each decision.")
    ]
    assert of(low=-0.5, high=-0.02) == [
        ("challenger", "worse than champion: it earns at least 0.020 less for each decision.")
    ]
    assert of(low=-0.01, high=0.02) == [("challenger", f"{between}; so far nothing says that it is better.")]
    more = "about 1,200 more decisions would show that it is better, if the difference stays as it was"
    assert of(low=-0.01, high=0.02, needed=1_200) == [("challenger", f"{between}; {more}.")]
    assert of(refused="x") == []
    assert lead(sound(), " of May").startswith("4,000 decisions of the loop push of May, of which 4,000 are matured")


def test_bands_of_few_lines() -> None:
    """Bands around more than two lines would hide them."""

    def has_bands(found: Evidence) -> bool:
        figures = [part.plot for part in page(found, "x").parts if isinstance(part, Figure)]
        [plot] = [plot for plot in figures if isinstance(plot, Lines) and "time" in plot.title]
        return any(bool(np.isfinite(line.error).any()) for line in plot.lines)

    two = sound()
    three = two.policies | {"third": two.policies["challenger"]}
    assert has_bands(two)
    assert not has_bands(replace(two, policies=three))


@pytest.mark.slow
def test_the_page() -> None:
    """Verdicts and table, then intervals, the gate, rewards in the course of time, and weights; and it can be drawn."""
    found = page(sound(), "python -m app evaluate LOG")
    assert found.lead.startswith(
        "4,000 decisions of the loop push, of which 4,000 are matured and were shown, 4,000 of"
    )
    said, grid, *figures = found.parts
    assert isinstance(said, Notes)
    assert said.items == [*verdicts(sound())]
    assert isinstance(grid, Grid)
    plots = [part.plot for part in figures if isinstance(part, Figure)]
    assert [plot.title for plot in plots] == [
        "Rewards",
        "The gate of challenger",
        "Rewards in the course of time",
        "Weights",
    ]
    gate, rewards = plots[1], plots[2]
    assert isinstance(gate, Lines)
    assert isinstance(rewards, Lines)
    bounds = sound().policies["challenger"].gate
    assert bounds is not None
    assert gate.mark == 0.0
    mean, error = gate.lines[0].mean[-1], gate.lines[0].error[-1]
    assert (round(mean - 2 * error, 12), round(mean + 2 * error, 12)) == (round(bounds.low, 12), round(bounds.high, 12))
    assert (gate.at[-1], rewards.at[0], rewards.at[-1]) == (4_000, 0, 48)
    text = html(found)
    assert text.count("<svg") == 4 * 4
    assert "hour 0 is 2025-11-24 17:00 UTC" in text


def test_a_page_of_refusals() -> None:
    """It says what was refused before it shows what is left."""
    found = page(wrong(), "x")
    grid, told, *figures = found.parts
    assert isinstance(grid, Grid)
    assert isinstance(told, Notes)
    assert {about for about, _ in told.items} == {"champion", "challenger", "uniform", "first"}
    titles = [part.plot.title for part in figures if isinstance(part, Figure)]
    assert titles == ["Weights"]
    assert "<li><strong>champion</strong> refused (draws)" in html(found)


def test_a_page_of_nothing() -> None:
    """An empty log has a table, and says that nothing counts."""
    none = np.zeros((0, 3))
    log = logged(none, {"c": none, "e": none}, np.zeros(0, int), np.zeros(0), [])
    said, grid, told = page(evidence(log, "push"), "x", " from the beginning").parts
    assert isinstance(said, Notes)
    assert said.items == [("e", "not compared with c yet: no decision of its present version is matured.")]
    assert isinstance(grid, Grid)
    assert grid.rows[0][1] == "–"  # noqa: RUF001  # a dash
    assert isinstance(told, Notes)
    assert "nothing" in told.items[0][1]
