"""The benchmark's way in: what it offers is documented, and a missing program is one line."""

import re
from pathlib import Path

import pytest

from bench import run
from bench.measure import require

PAGE = (Path(__file__).parent.parent.parent / "docs" / "change" / "performance.md").read_text()


def test_every_measurement_is_documented() -> None:
    """The page on performance shows each command that the help shows."""
    shown = re.findall(r"^  \./dev bench (--[a-z]+)", run.__doc__ or "", re.MULTILINE)
    assert len(shown) >= 11
    assert not [option for option in shown if f"`./dev bench {option}" not in PAGE]


def test_missing_program_is_one_line() -> None:
    """A program that is not there is named, with the command that installs it, and nothing is started."""
    with pytest.raises(SystemExit, match=r"^no-such-program is not installed: './dev bench' installs it$"):
        require("no-such-program")
