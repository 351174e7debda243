"""A new key is shown once, with the line by which the service knows it."""

import hashlib

import pytest

from app.commands.cli import run
from app.http.api_keys import read_keys


def test_key(capsys: pytest.CaptureFixture[str]) -> None:
    """The line has the digest of the key that is shown."""
    assert run(["key", "phone", "client"]) == 0
    key, line = (row.split(": ")[1].strip() for row in capsys.readouterr().out.splitlines())
    [known] = read_keys(line)
    assert (known.name, known.role) == ("phone", "client")
    assert known.digest == hashlib.sha256(key.encode()).digest()


def test_an_unknown_role_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """The roles that there are, and exit code 2."""
    assert run(["key", "phone", "boss"]) == 2
    assert "client, reader, admin" in capsys.readouterr().err
