"""Finding keys by a pattern, page by page."""

import pytest

from state.redis.scan import scan
from tests.unit.state.wire import Wire

pytestmark = pytest.mark.anyio


async def test_every_key_that_matches() -> None:
    """All pages are read, to the last; names that are not UTF-8 are shown with U+FFFD."""
    wire = Wire()
    names = [f"oo:{{u{number}}}:history" for number in range(1_200)]
    await wire.ask(*(("SET", name, "x") for name in names), ("SET", b"oo:{\xff}:x", "x"), ("SET", "other", "x"))
    async with wire.connection("") as connection:
        pages = [page async for page in scan(connection, "oo:*", patience=1.0)]
    assert sorted(name for page in pages for name in page) == sorted([*names, "oo:{\ufffd}:x"])
    assert wire.sent == [["SCAN"]] * len(pages)
    assert 2 <= len(pages) <= 4


async def test_nothing_matches() -> None:
    """One empty page, and an end."""
    wire = Wire()
    async with wire.connection("") as connection:
        assert [page async for page in scan(connection, "oo:*", patience=1.0)] == [[]]
