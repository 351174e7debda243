"""API keys: how they are made, written and read."""

import hashlib
from pathlib import Path

import pytest

from app.http.api_keys import ROLES, bearer_digest, make_key, read_keys
from app.settings import SettingsError

LINES = [make_key(f"the-{role}", role)[1] for role in ROLES]


BAD = {
    "no key": (f"{LINES[0]}\nbad", "API_KEYS: line 2 is not name:role:sha256 with a role of client, reader, admin"),
    "short": ("phone:reader:" + "0" * 63, "API_KEYS: line 1 is not"),
    "role": ("phone:root:" + "0" * 64, "API_KEYS: line 1 is not"),
    "twice": (f"# x\n\n {LINES[0]} \n{LINES[0]}", "API_KEYS: line 4 repeats a key of another line"),
    "file": ("/nowhere/keys", "API_KEYS: cannot read the file"),
}


@pytest.mark.parametrize("name", BAD)
def test_an_invalid_line_is_refused(name: str) -> None:
    """The message says which line of API_KEYS is wrong, and shows nothing of it."""
    setting, said = BAD[name]
    with pytest.raises(SettingsError) as caught:
        read_keys(setting)
    assert str(caught.value).startswith(said)
    assert "0000" not in str(caught.value)


def test_a_made_key_is_what_its_line_says() -> None:
    """Its line holds the SHA-256 alone; no two are the same; an invalid name or role is refused."""
    key, line = make_key("a.b_c-1", "admin")
    assert line == f"a.b_c-1:admin:{hashlib.sha256(key.encode()).hexdigest()}"
    assert key not in line
    assert len(key) >= 43
    assert make_key("a.b_c-1", "admin")[0] != key
    [read] = read_keys(line)
    assert (read.name, read.role) == ("a.b_c-1", "admin")
    for name, role in (("", "admin"), ("a:b", "admin"), ("a", "root"), ("a" * 65, "admin"), ("a\n", "admin")):
        with pytest.raises(SettingsError):
            make_key(name, role)


def test_comments_are_ignored(tmp_path: Path) -> None:
    """A comma in a comment begins no key, and the lines after it keep their numbers; so it is in a file with a BOM."""
    text = f"# phone, until autumn\n{LINES[0]} # the phone, again\n\n{LINES[1]},{LINES[2]}"
    assert [key.name for key in read_keys(text)] == ["the-client", "the-reader", "the-admin"]
    with pytest.raises(SettingsError, match="line 3 is not"):
        read_keys("# a, b, c\n\nnonsense")
    (tmp_path / "keys").write_text(text, "utf-8-sig")
    assert len(read_keys(str(tmp_path / "keys"))) == 3


def test_keys_may_stand_on_one_line() -> None:
    """Commas serve where a variable cannot hold line ends."""
    assert [key.name for key in read_keys(",".join(LINES))] == ["the-client", "the-reader", "the-admin"]
    assert read_keys("") == []


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc", b"abc"),
        ("bEARER \t abc ", b"abc"),
        ("Bearer a b", b"a b"),
        ("Basic abc", None),
        ("abc", None),
        ("Bearer", None),
        ("Bearer  ", None),
        ("", None),
    ],
)
def test_a_bearer_token_is_read(header: str, token: bytes | None) -> None:
    """Case of the scheme and spaces around the token do not count; nothing else is a token."""
    assert bearer_digest(header) == (b"" if token is None else hashlib.sha256(token).digest())
