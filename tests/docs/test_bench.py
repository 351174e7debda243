"""The benchmark's way in: what it offers is documented, and a missing program is one line."""

import re
from pathlib import Path

import pytest

from bench import report, run, scale
from bench.measure import require

CHANGE = Path(__file__).parent.parent.parent / "docs" / "change"
PAGE = (CHANGE / "performance.md").read_text()


def test_every_measurement_is_documented() -> None:
    """The page on performance shows each command that the help shows."""
    shown = re.findall(r"^  \./dev bench (--[a-z]+)", run.__doc__ or "", re.MULTILINE)
    assert len(shown) >= 11
    assert not [option for option in shown if f"`./dev bench {option}" not in PAGE]


def test_deployments_are_those_that_are_computed() -> None:
    """The page on scale has the tables that `./dev bench --scale --markdown` prints."""
    page = (CHANGE / "scale.md").read_text()
    assert [each.title for each in scale.sections() if report.markdown(each) not in page] == []


def test_what_a_deployment_needs_grows_with_it() -> None:
    """A Cluster has three masters or more, and whatever is rewarded takes less memory."""
    few, many = (scale.need(scale.Demand(users)) for users in (200_000, 100_000_000))
    assert (few.masters, few.processes) == (1, 2)
    assert many.masters == max(many.by_memory, many.by_processor) > 3
    assert scale.need(scale.Demand(100_000_000, rewarded=1.0)).bytes < many.bytes
    assert scale.need(scale.Demand(1_000_000)).masters == 3


def test_missing_program_is_one_line() -> None:
    """A program that is not there is named, with the command that installs it, and nothing is started."""
    with pytest.raises(SystemExit, match=r"^no-such-program is not installed: './dev bench' installs it$"):
        require("no-such-program")
