"""The first page."""

import pytest

from tests.unit.app.serving import serving

pytestmark = pytest.mark.anyio


async def test_loops() -> None:
    """Each leads to its page."""
    async with serving() as client:
        page = (await client.get("/console")).text
    assert '<a href="console/loops/tips">tips</a>' in page
