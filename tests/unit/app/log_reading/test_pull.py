"""What is noted of a pull. tests/service/test_log_stream.py pulls from a real stream."""

from pathlib import Path

import pytest

from app.log_reading.pull import _noted


@pytest.mark.parametrize(("text", "after"), [(None, 0), ("{", 0), ('{"after":"x"}', 0), ('{"after":7}', 7)])
def test_where_it_goes_on(tmp_path: Path, text: str | None, after: int) -> None:
    """A note that is missing or broken means from the beginning: lines that come twice are taken once."""
    if text is not None:
        (tmp_path / "pulled.json").write_text(text)
    assert _noted(tmp_path) == after
