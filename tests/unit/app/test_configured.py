"""The policies that the settings name."""

from pathlib import Path

import pytest

from app.configured import configured
from app.settings import Settings, SettingsError


def test_a_file(tmp_path: Path) -> None:
    """Its rows beside the built-in ones, which have the settings' alpha; without a file only these."""
    (tmp_path / "own.toml").write_text("[loops.push]\nchampion = 'linucb-v1'\n")
    found = configured(Settings(policies=str(tmp_path / "own.toml"), alpha=0.5))
    assert set(found.loops) == {"tips", "push"}
    assert found.policies["linucb-v1"].explorer.alpha == 0.5  # type: ignore[attr-defined]  # UpperConfidence
    assert set(configured(Settings()).loops) == {"tips"}


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "No such file"), (b"\xff", "is not UTF-8"), (b"[loops.push]\nchampion = 'nobody'", "no policy 'nobody'")],
)
def test_a_file_that_is_none(tmp_path: Path, content: bytes | None, words: str) -> None:
    """One line that names the variable and the file."""
    file = tmp_path / "own.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match=f"^POLICIES: {file}: .*{words}"):
        configured(Settings(policies=str(file)))
