"""The page of a loop."""

import pytest

from tests.unit.app.serving import serving

pytestmark = pytest.mark.anyio


async def test_who_serves() -> None:
    """The champion."""
    async with serving() as client:
        page = (await client.get("/console/loops/tips")).text
    assert "egreedy-v1" in page
