"""The service published under a prefix, by proxies that keep it in each path and by proxies that remove it."""

import re
from collections.abc import Iterator
from urllib.parse import urljoin

import httpx
import pytest

from tests.docs.pages import blocks
from tests.support.bodies import score
from tests.support.processes import ROOT, Server
from tests.support.proxies import haproxy, nginx
from tests.support.service import service
from tests.support.waiting import PATIENCE_SECONDS, until

PREFIX = "/team/bandit"
HAPROXY = """
defaults
    mode http
    timeout connect 1s
    timeout client 60s
    timeout server 60s
    retries 3
frontend published
    bind $ADDRESS
    http-request deny deny_status 404 unless { path -m beg /team/bandit/ }
    $REMOVE
    default_backend replicas
backend replicas
    server replica1 $BACKEND
"""
# The lines of the page that remove a prefix.
PAGE = (ROOT / "docs" / "run" / "replicas.md").read_text()
REMOVE = (
    [block.text for block in blocks(PAGE) if block.language == "haproxy"][1]
    .partition("\n")[2]
    .replace("/bandit", PREFIX)
)


@pytest.fixture(scope="module")
def served() -> Iterator[Server]:
    with service({"ROOT_PATH": PREFIX, "TRUSTED_PROXIES": "10.0.0.0/8, 127.0.0.1"}) as server:
        yield server


@pytest.fixture(scope="module", params=["nginx", "nginx that removes it", "haproxy", "haproxy that removes it"])
def published(request: pytest.FixtureRequest, served: Server) -> Iterator[Server]:
    """A proxy that publishes a service under PREFIX and nothing else."""
    removes = request.param.endswith("removes it")
    config = HAPROXY.replace("$BACKEND", served.url.removeprefix("http://")).replace("$REMOVE", REMOVE * removes)
    proxy = nginx(served, PREFIX, removes=removes) if request.param.startswith("nginx") else haproxy(config)
    with proxy as front:
        live = f"{front.url}{PREFIX}/health/live"
        until(lambda: httpx.get(live, timeout=PATIENCE_SECONDS).status_code == 200, "the proxy serves")
        yield front


def follow(front: Server, path: str) -> httpx.Response:
    """What a browser sees at `path` in the end."""
    with httpx.Client(base_url=front.url, follow_redirects=True, timeout=PATIENCE_SECONDS) as client:
        return client.get(path)


@pytest.mark.parametrize("path", ["/", "/schema", "/schema/"])
def test_the_page_is_found_and_leads_on(published: Server, path: str) -> None:
    """Its front leads to it, its redirects and its link stay within the prefix, and its requests have the prefix."""
    page = follow(published, f"{PREFIX}{path}")
    assert (page.status_code, page.url.path) == (200, f"{PREFIX}/schema")
    [link] = re.findall(r'href="([^#"]+)"', page.text)
    assert urljoin(str(page.url), link) == f"{published.url}{PREFIX}/schema/openapi.json"
    assert f"http://localhost:8000{PREFIX}/score" in page.text


@pytest.mark.parametrize("path", ["/console", "/console/", "/console/loops/tips"])
def test_the_console_stays_within_the_prefix(published: Server, path: str) -> None:
    """What its pages lead to and load is there, and a form that a page sends is known as its own."""
    page = follow(published, f"{PREFIX}{path}")
    assert page.status_code == 200
    links = {urljoin(str(page.url), link) for link in re.findall(r'(?:href|src|action)="([^"#]+)"', page.text)}
    assert {link.partition("/console")[0] for link in links} == {f"{published.url}{PREFIX}"}
    with httpx.Client(timeout=PATIENCE_SECONDS) as client:
        assert {client.get(link).status_code for link in links} == {200}
        form = {"state": "7", "step": "back"}
        # By plain http a browser says no more than the Origin.
        for more in ({"Sec-Fetch-Site": "same-origin"}, {}):
            origin = {"Origin": published.url, **more}
            asked = client.post(f"{published.url}{PREFIX}/console/loops/tips", data=form, headers=origin)
            assert (asked.status_code, "somebody has changed the loop" in asked.text) == (412, True)


def test_the_document_names_the_prefix(published: Server) -> None:
    """A client made from it asks the proxy."""
    document = follow(published, f"{PREFIX}/schema/openapi.json").json()
    assert document["servers"] == [{"url": PREFIX}]
    with httpx.Client(base_url=published.url, timeout=PATIENCE_SECONDS) as client:
        answer = client.post(f"{document['servers'][0]['url']}/score", json=score("ann"))
        assert answer.json()["policy"] == "linucb-v1"


def test_redirects_keep_the_method(published: Server) -> None:
    """`/score/` leads to `/score` within the prefix; another spelling is not a path."""
    with httpx.Client(base_url=published.url, follow_redirects=True, timeout=PATIENCE_SECONDS) as client:
        answer = client.post(f"{PREFIX}/score/?a=b", json=score("ann"))
        assert (answer.status_code, str(answer.url)) == (200, f"{published.url}{PREFIX}/score?a=b")
        assert client.get("/score").status_code == 404
        assert client.get(f"{PREFIX}{PREFIX}/prompts").status_code == 404


def test_past_the_proxy(served: Server) -> None:
    """Who asks a replica itself needs no prefix, and cannot choose one; a probe may have it."""
    transport = httpx.HTTPTransport(local_address="127.0.0.2")
    forged = {"X-Forwarded-Prefix": "/forged"}
    with httpx.Client(base_url=served.url, headers=forged, transport=transport, timeout=PATIENCE_SECONDS) as client:
        for path in ("/health", "/health/live", "/health/ready", "/metrics", "/prompts"):
            assert client.get(path).status_code == client.get(f"{PREFIX}{path}").status_code == 200
        assert client.get("/schema/openapi.json").json()["servers"] == [{"url": PREFIX}]
        assert client.get(PREFIX).headers["location"] == f"{PREFIX}/schema"
