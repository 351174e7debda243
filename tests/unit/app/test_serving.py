"""The policies that serve: replaced as a whole, or left as they are."""

import logging

import pytest

from app.policies.catalog import Catalog, catalog
from app.serving import Serving
from app.settings import SettingsError
from tests.unit.app.policies.samples import PUSH


def test_another_file_replaces_all(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever looks a policy up sees the new one; a bad file changes nothing and is one line."""
    caplog.set_level(logging.INFO)
    files: list[str | None] = ["", None, PUSH]

    def read() -> Catalog:
        text = files.pop(0)
        if text is None:
            raise SettingsError("POLICIES: x: is not TOML")
        return catalog(text)

    serving = Serving(read)
    assert len(serving) == len(list(serving)) == 5
    serving.read_again()
    assert "push" not in serving
    assert not serving.changed.is_set()
    assert caplog.messages == ["POLICIES: x: is not TOML; the policies stay as they are"]
    serving.read_again()
    assert serving["push"] is serving.get("push") is serving.catalog.policies["push"]
    assert serving.get("none") is None
    assert serving.changed.is_set()
    assert caplog.messages[1:] == ["POLICIES read again: 6 policies, 3 loops"]


def test_a_bad_file_at_the_start() -> None:
    """It is the caller's."""

    def read() -> Catalog:
        raise SettingsError("POLICIES: x")

    with pytest.raises(SettingsError):
        Serving(read)
