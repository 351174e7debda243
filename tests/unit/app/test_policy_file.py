"""The policy file that POLICIES names, and how a wrong one is refused."""

from pathlib import Path

import pytest

from app.policy_file import read_catalog
from app.settings import Settings, SettingsError


def test_the_built_in_policies_are_always_there(tmp_path: Path) -> None:
    """With the own ones after them; ALPHA and EPSILON are those of the settings."""
    plain = read_catalog(Settings(alpha=0.5))
    assert getattr(plain.policies["linucb-v1"].explorer, "alpha", None) == 0.5
    path = tmp_path / "own.toml"
    path.write_text('[policies.ueber]\ncolumns = ["priority"]\nexplore = { by = "epsilon", epsilon = 0.1 }\n')
    assert [*read_catalog(Settings(policies=str(path))).policies] == [*plain.policies, "ueber"]


def test_a_wrong_file_is_refused(tmp_path: Path) -> None:
    """The error names the variable, the file, and what is wrong with it."""
    path = tmp_path / "own.toml"
    with pytest.raises(SettingsError, match=r"POLICIES: .*own\.toml: No such file"):
        read_catalog(Settings(policies=str(path)))
    path.write_bytes(b"\xff")
    with pytest.raises(SettingsError, match=r"POLICIES: .*own\.toml: is not UTF-8"):
        read_catalog(Settings(policies=str(path)))
    path.write_text("[loop]")
    with pytest.raises(SettingsError, match=r"POLICIES: .*own\.toml: has a table \[loop\]"):
        read_catalog(Settings(policies=str(path)))
