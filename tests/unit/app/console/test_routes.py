"""The console over HTTP."""

import re
from urllib.parse import urljoin

import pytest

from app.settings import Secret
from tests.unit.app.serving import serving

pytestmark = pytest.mark.anyio

OWN = {"Origin": "http://here"}


async def test_headers() -> None:
    """Of each page: nothing from elsewhere, no frame, nothing kept; what pages load is kept, and is there."""
    async with serving() as client:
        page = await client.get("/console")
        head = await client.head("/console")
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        policy = page.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "frame-ancestors 'none'; base-uri 'none'" in policy
        assert "unsafe" not in policy
        assert (page.headers["cache-control"], page.headers["x-content-type-options"]) == ("no-store", "nosniff")
        assert (head.status_code, head.content) == (200, b"")
        loaded = re.findall(r'(?:src|href)="([^"]*assets[^"]*)"', page.text)
        assert len(loaded) == 3
        for link in loaded:
            asset = await client.get(urljoin("/console", link))
            assert (asset.status_code, "immutable" in asset.headers["cache-control"]) == (200, True)
        assert (await client.get("/console/assets/frame.html")).status_code == 404
        assert (await client.get("/console/assets/..%2Fframe.py")).status_code == 404


async def test_off() -> None:
    """By CONSOLE=0 there is nothing of it."""
    async with serving(console=False) as client:
        for path in ("/console", "/console/sign-in", "/console/assets/console.css", "/console/loops/tips"):
            assert (await client.get(path)).status_code == 404


async def test_open() -> None:
    """Without keys nobody is asked to sign in, and the page says so."""
    async with serving() as client:
        page = await client.get("/console")
        asked = await client.get("/console/sign-in")
    assert "open to everyone" in page.text
    assert (asked.status_code, asked.headers["location"]) == (303, "../console")


async def test_under_a_prefix() -> None:
    """Links lead up to /console, so a page works under every prefix, also one that only a proxy knows of."""
    async with serving(root_path="/team/bandit", api_keys=Secret("a:admin:" + "0" * 64)) as client:
        out = await client.get("/team/bandit/console/loops/tips")
        form = await client.get("/team/bandit/console/sign-in")
    assert urljoin("/x/console/loops/tips", out.headers["location"]) == "/x/console/sign-in?to=%2Floops%2Ftips"
    for link in re.findall(r'(?:src|href|action)="([^"#]*)"', form.text):
        assert urljoin("/team/bandit/console/sign-in", link).startswith("/team/bandit/console")


async def test_an_error_is_a_page() -> None:
    """With the status that any other client would be told."""
    async with serving() as client:
        unknown = await client.get("/console/loops/tisp")
        long = await client.post("/console/sign-out", content=b"x=1", headers={})
        odd = await client.post("/console/loops/tips", content=b"\xff", headers=OWN)
    assert (unknown.status_code, "there is no loop &#39;tisp&#39;" in unknown.text) == (404, True)
    assert long.status_code == 403
    assert (odd.status_code, "in UTF-8" in odd.text) == (422, True)
