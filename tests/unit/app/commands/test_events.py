"""The commands `events …` without a server: what they refuse, and how they say that NATS cannot be reached."""

import pytest

from app.commands.cli import run
from tests.support.processes import free_port

EVERY = pytest.mark.parametrize("words", [["status"], ["letters"], ["replay"], ["discard", "1"]], ids=" ".join)


@EVERY
def test_a_server_must_be_named(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without NATS_URL there is nothing to ask: a setting is wrong."""
    monkeypatch.delenv("NATS_URL", raising=False)
    assert run(["events", *words]) == 2
    assert capsys.readouterr() == ("", "NATS_URL is empty: it names the NATS servers\n")


@EVERY
def test_a_server_that_is_away(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line with the cause, without the password, and at once."""
    monkeypatch.setenv("NATS_URL", f"nats://bob:hidden@127.0.0.1:{free_port()}")
    assert run(["events", *words]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("cannot connect to NATS: ")
    assert "onnect" in err.removeprefix("cannot connect to NATS: ")
    assert "hidden" not in err
