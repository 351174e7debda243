"""The file that POLICIES names: what is wrong with it is one line that names the setting and the file."""

from pathlib import Path

import pytest

from app.catalog_file import read_catalog, served_catalog
from app.policies.catalog import catalog
from app.settings import Secret, Settings, SettingsError
from tests.unit.app.policies.samples import PUSH


def test_without_a_file() -> None:
    """What is built in, by ALPHA and EPSILON."""
    found = read_catalog(Settings(alpha=3.0, epsilon=0.5))
    assert list(found.policies) == list(catalog().policies)
    assert [found.policies[name].explorer.floor for name in ("linucb-v1", "egreedy-v1")] == [0.0, 0.5]


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_a_file(start: bytes, tmp_path: Path) -> None:
    """With the mark that some editors write at its start, or without."""
    path = tmp_path / "policies.toml"
    path.write_bytes(start + PUSH.encode())
    found = read_catalog(Settings(policies=str(path)))
    assert list(found.loops) == ["tips", "personalizer", "push"]
    assert "push" in found.policies


def test_the_loop_of_personalizer_s_clients() -> None:
    """Is served where they have a key; analysts and jobs know it anywhere. Then users outlive its longest window."""
    key = Secret("k")
    assert list(served_catalog(Settings()).loops) == ["tips"]
    assert list(served_catalog(Settings(personalizer_key=key)).loops) == ["tips", "personalizer"]
    served_catalog(Settings(idle_user_days=2))
    with pytest.raises(SettingsError, match=r"loop 'personalizer' .* at least 7, not 6"):
        served_catalog(Settings(personalizer_key=key, idle_user_days=6))


def test_users_expire_after_their_decisions(tmp_path: Path) -> None:
    """IDLE_USER_DAYS must be more than the longest window of all loops and the grace; the error says how much more."""
    path = tmp_path / "policies.toml"
    path.write_text('[loops.long]\nchampion = "tips-v3"\nwindow = "3d"\n')
    for days, grace in ((0, 0), (4, 0), (4, 86_399), (5, 86_400)):
        read_catalog(Settings(policies=str(path), idle_user_days=days, decision_grace_seconds=grace))
    for days, grace, least in ((3, 0, 4), (4, 86_400, 5)):
        with pytest.raises(SettingsError) as refused:
            read_catalog(Settings(policies=str(path), idle_user_days=days, decision_grace_seconds=grace))
        assert str(refused.value) == (
            "IDLE_USER_DAYS: takes 0, or more days than the window of the loop 'long' and DECISION_GRACE_SECONDS "
            f"together, so at least {least}, not {days}"
        )
    with pytest.raises(SettingsError, match=r"loop 'tips' .* at least 2, not 1"):
        read_catalog(Settings(idle_user_days=1))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[policies.p]\n", "[policies] p: lacks the key 'explore'"),
        (b"# \xff", "is not UTF-8: byte 2"),
        (b"#" * 1_000_001, "has more than 1,000,000 bytes"),
        (None, "No such file or directory"),
    ],
)
def test_what_is_wrong(content: bytes | None, said: str, tmp_path: Path) -> None:
    """Whatever it is."""
    path = tmp_path / "policies.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        read_catalog(Settings(policies=str(path)))
    assert str(caught.value).startswith(f"POLICIES: {path}: {said}")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(("name", "said"), [("/", "Is a directory"), ("a\0b", "embedded null byte")])
def test_what_is_no_file(name: str, said: str) -> None:
    """A directory, and what cannot be a path."""
    with pytest.raises(SettingsError, match=said):
        read_catalog(Settings(policies=name))
