"""Who gets in, for how long, and which forms count."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from litestar import Request

from app.console.doors import Doors
from app.console.session import SECONDS, cookie_of
from app.http.access import Access
from app.http.api_keys import Key, make_key, read_keys
from app.settings import Secret
from state.errors import StoreUnavailable
from state.store import Store
from tests.support.decisions import one_memory
from tests.unit.app.serving import NOW, serving

pytestmark = pytest.mark.anyio

KEYS = {role: make_key(f"{role}-1", role) for role in ("client", "reader", "admin")}
LINES = Secret("\n".join(line for _, line in KEYS.values()))
OWN = {"Origin": "http://here"}


@pytest.fixture(autouse=True)
def memory() -> Iterator[Store]:
    """One state for all services of a test, as replicas have."""
    with one_memory() as servers:
        yield Store(servers.open("memory://"), timeout=60.0, history_size=10, marker_seconds=60)


async def sign_in(client: httpx.AsyncClient, role: str, **more: Any) -> httpx.Response:
    form = {"key": KEYS[role][0], **more}
    answer = await client.post("/console/sign-in", data=form, headers=OWN)
    client.cookies.clear()
    return answer


def cookie(answer: httpx.Response) -> dict[str, str]:
    return {"Cookie": answer.headers["set-cookie"].partition(";")[0]}


async def test_in_and_out() -> None:
    """Whoever is out is led to the form and then to the page that was asked for; another replica knows the session."""
    async with serving(api_keys=LINES) as client, serving(api_keys=LINES) as other:
        out = await client.get("/console/loops/tips")
        assert (out.status_code, out.headers["location"]) == (303, "../../console/sign-in?to=%2Floops%2Ftips")
        form = await client.get("/console/sign-in?to=%2Floops%2Ftips")
        assert '<input type="hidden" name="to" value="/loops/tips">' in form.text
        done = await sign_in(client, "reader", to="/loops/tips")
        assert (done.status_code, done.headers["location"]) == (303, "../console/loops/tips")
        kept = done.headers["set-cookie"]
        assert kept.startswith("oo_console=reader-1~")
        assert KEYS["reader"][0] not in kept
        assert kept.endswith(f"; Max-Age={SECONDS}; HttpOnly; SameSite=Strict")
        for replica in (client, other):
            page = await replica.get("/console", headers=cookie(done))
            assert (page.status_code, "reader-1" in page.text) == (200, True)
        gone = await client.post("/console/sign-out", headers=OWN)
        assert (gone.status_code, gone.headers["location"]) == (303, "../console/sign-in")
        assert gone.headers["set-cookie"].startswith("oo_console=; Max-Age=0;")


ELSEWHERE = [
    "//evil",
    "https://evil",
    "/\\evil",
    "evil",
    "/a/../..//evil",
    "/../evil",
    "/%2e%2E/evil",
    "/a/..",
    "/%0d%0a x",
]


async def test_nobody_is_led_elsewhere() -> None:
    """After signing in, whatever the form says."""
    async with serving(api_keys=LINES) as client:
        for to in [*ELSEWHERE, "/" + "a" * 400]:
            assert (await sign_in(client, "reader", to=to)).headers["location"] == "../console", to
            page = (await client.get("/console/sign-in", params={"to": to})).text
            assert 'name="to" value=""' in page, to
            assert "evil" not in page


STAY_OUT = [
    ("nonsense", 401, "does not know this key"),
    ("", 401, "does not know this key"),
    ("ключ\x00", 401, "does not know this key"),
    (KEYS["client"][0], 403, "this key is a client&#39;s"),
]


async def test_who_stays_out() -> None:
    """The form says why, and there is no session."""
    async with serving(api_keys=LINES) as client:
        for key, status, said in STAY_OUT:
            answer = await client.post("/console/sign-in", data={"key": key}, headers=OWN)
            assert (answer.status_code, said in answer.text) == (status, True)
            assert "set-cookie" not in answer.headers


async def test_a_session_ends_with_its_key(memory: Store) -> None:
    """At a replica whose keys have changed, and for a cookie that somebody made who knows only the digests."""
    [reader] = [key for key in read_keys(LINES.reveal()) if key.role == "reader"]
    async with serving(api_keys=LINES) as client, serving(api_keys=Secret(KEYS["admin"][1])) as later:
        done = await sign_in(client, "reader")
        assert (await client.get("/console", headers=cookie(done))).status_code == 200
        assert (await later.get("/console", headers=cookie(done))).status_code == 303
        forged = cookie_of(reader, b"", NOW), cookie_of(Key("reader-1", "admin", reader.digest), b"x" * 32, NOW)
        for each in (*forged, "", "x~1~y", "a" * 5_000):
            sent = {"Cookie": f"other=1; oo_console={each}"}
            assert (await client.get("/console", headers=sent)).status_code == 303
        assert len(await memory.shared.console_secret(b"another")) == 32


FORMS: list[tuple[dict[str, str], int]] = [
    ({}, 403),
    ({"Origin": "http://here"}, 303),
    ({"Origin": "http://elsewhere"}, 403),
    ({"Origin": "null"}, 403),
    ({"Origin": "http://here", "Sec-Fetch-Site": "cross-site"}, 403),
    ({"Origin": "http://here", "Sec-Fetch-Site": "same-site"}, 403),
    ({"Sec-Fetch-Site": "same-origin"}, 303),
    ({"Origin": "https://outside", "Sec-Fetch-Site": "same-origin"}, 303),  # a proxy has changed Host
]


async def test_a_form_of_another_site_does_nothing() -> None:
    """Neither of signing in nor of signing out."""
    async with serving(api_keys=LINES) as client:
        for headers, status in FORMS:
            answers = [
                await client.post("/console/sign-in", data={"key": KEYS["admin"][0]}, headers=headers),
                await client.post("/console/sign-out", headers=headers),
            ]
            for answer in answers:
                assert answer.status_code == status, headers
                # A browser that does not say where a form is from leaves the Host that the form was sent to.
                assert ("a proxy" in answer.text) == (status == 403 and "Sec-Fetch-Site" not in headers)
                assert ("set-cookie" in answer.headers) == (status == 303)


async def test_secure() -> None:
    """The cookie is for https alone where the browser came by it, through whatever proxies."""
    async with serving(api_keys=LINES) as client:
        sent = {"Origin": "https://outside", "Sec-Fetch-Site": "same-origin"}
        answer = await client.post("/console/sign-in", data={"key": KEYS["admin"][0]}, headers=sent)
    assert answer.headers["set-cookie"].endswith("; Secure")


async def test_requests_of_a_session_count_as_its_keys() -> None:
    """In the limit per key, signing in too."""
    async with serving(api_keys=LINES, rate_limit_per_second=1) as client:
        done = await sign_in(client, "reader")
        tries = [await client.get("/console", headers=cookie(done)) for _ in range(50)]
        again = [await sign_in(client, "reader") for _ in range(50)]
    for answers in (tries, again):
        assert 429 in {answer.status_code for answer in answers}
    [late, *_] = [answer for answer in tries if answer.status_code == 429]
    assert (late.headers["retry-after"], "1 requests per second" in late.text) == ("1", True)


class Secrets:
    """Has a secret, or fails; counts how often it was asked."""

    def __init__(self) -> None:
        self.fails = False
        self.asked = 0

    async def console_secret(self, fresh: bytes) -> bytes:
        self.asked += 1
        if self.fails:
            raise StoreUnavailable("away")
        return b"secret"


async def test_while_redis_is_away() -> None:
    """Sessions go on, for people want to see what is wrong; and Redis is not asked at each request."""
    nothing: Any = None
    shared: Any = Secrets()
    now = [NOW]
    doors = Doors(Access(LINES.reveal(), nothing, 0, lambda: None), shared, lambda: now[0])
    [admin] = [key for key in read_keys(LINES.reveal()) if key.role == "admin"]
    headers = [(b"cookie", f"oo_console={cookie_of(admin, b'secret', NOW)}".encode())]

    async def visitor() -> Key | None:
        scope: Any = {"type": "http", "headers": headers, "state": {}}
        return await doors.visitor(Request(scope))

    shared.fails = True
    with pytest.raises(StoreUnavailable):
        await visitor()
    shared.fails = False
    assert [await visitor() for _ in range(9)] == [admin] * 9
    assert shared.asked == 2
    shared.fails = True
    now[0] += 31.0
    assert await visitor() == admin
    assert shared.asked == 3
