"""Files change as a whole, and by one process at a time."""

from contextlib import suppress
from pathlib import Path

import pytest

from app.decision_log.place import PlaceError
from app.log_reading.aside import alone, put


def test_put(tmp_path: Path) -> None:
    """The old one stays until the new one is whole, and nothing is left beside it."""
    for data in (b"1", b"22"):
        put(tmp_path / "x", data)
        assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("x", data)]


def test_alone(tmp_path: Path) -> None:
    """A second one is refused, and after an error the next one is not."""
    for _ in range(2):
        with suppress(ZeroDivisionError), alone(tmp_path):
            with pytest.raises(PlaceError, match="is being changed by another process"), alone(tmp_path):
                pass
            raise ZeroDivisionError
