"""GET /schema, GET /schema/openapi.json and GET /."""

import pytest

from app.http.api_keys import make_key
from app.settings import Secret
from tests.unit.app.serving import serving

pytestmark = pytest.mark.anyio


async def test_the_reference_needs_no_key() -> None:
    """It says what kind of thing it is, and shows itself too."""
    async with serving(api_keys=Secret(make_key("me", "admin")[1])) as client:
        page, raw = await client.get("/schema"), await client.get("/schema/openapi.json")
        assert (page.headers["content-type"], raw.headers["content-type"]) == (
            "text/html; charset=utf-8",
            "application/json",
        )
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert {"/schema", "/schema/openapi.json"} <= raw.json()["paths"].keys()
        for path in ("/schema", "/schema/openapi.json"):
            assert (await client.head(path)).status_code == 200


async def test_the_front_leads_there() -> None:
    """By a relative address, for a proxy may have removed a prefix."""
    async with serving() as client:
        answer = await client.get("/")
        assert (answer.status_code, answer.headers["location"], answer.content) == (307, "schema", b"")
