"""A new key is shown once, with the line by which the service knows it."""

import hashlib

import pytest

from app.commands.cli import run
from app.http.api_keys import ROLES, read_keys


def test_key(capsys: pytest.CaptureFixture[str]) -> None:
    """The line has the digest of the key that is shown."""
    assert run(["key", "phone", "client"]) == 0
    key, line = (row.split(": ")[1].strip() for row in capsys.readouterr().out.splitlines())
    [known] = read_keys(line)
    assert (known.name, known.role) == ("phone", "client")
    assert known.digest == hashlib.sha256(key.encode()).digest()


def test_an_unknown_role_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """The roles that there are, and exit code 2."""
    with pytest.raises(SystemExit) as stopped:
        run(["key", "phone", "boss"])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert "argument ROLE: invalid choice: 'boss'" in said
    assert [role for role in ROLES if role not in said] == []


def test_a_bad_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A name is part of log lines and labels."""
    assert run(["key", "my phone", "client"]) == 2
    assert capsys.readouterr().err.startswith("a key has a name of 1 to 64 letters")
