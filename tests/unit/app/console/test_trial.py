"""Try it: the decision that a request would get, as JSON and as a form."""

import json
import re
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.unit.app.serving import serving

pytestmark = pytest.mark.anyio

ORIGIN = {"Origin": "http://here", "Sec-Fetch-Site": "same-origin"}


def request_in(page: str) -> str:
    """The request that a page tried."""
    return re.search(r"<pre>(.*?)</pre>", page, re.DOTALL)[1].replace("&#34;", '"')  # type: ignore[index]


async def test_an_example_is_decided() -> None:
    """At the first look, for a user that nobody knows; and no user is known afterwards."""
    async with serving() as client:
        page = (await client.get("/console/try")).text
        assert "<dt>Chosen</dt><dd>A</dd>" in page
        assert 'name="candidate.0.features.priority"' in page
        assert (await client.get("/users/somebody-new")).json() == {
            "user_id": "somebody-new",
            "policies": {},
            "open": [],
        }


async def test_a_form_and_json_say_the_same() -> None:
    """An edited form decides, and goes over into JSON and back; a candidate can be added; the seed draws."""
    form = {"mode": "form", "loop": "tips", "request_of": "tips", "user": "ann", "seed": "5"}
    form |= {"context.hour_of_day": "7", "candidate.0.id": "rent", "candidate.1.id": "walk"}
    async with serving() as client:

        async def tried(**more: str) -> str:
            answer = await client.post("/console/try", data=form | more, headers=ORIGIN)
            assert answer.status_code == 200, answer.text
            return answer.text

        page = await tried()
        wanted = {
            "context": {"hour_of_day": 7},
            "user": {},
            "candidates": [{"id": "rent", "features": {}}, {"id": "walk", "features": {}}],
        }
        assert json.loads(request_in(page)) == wanted
        assert "candidate-3" in await tried(more="1")
        assert 'name="seed" value="6"' in await tried(again="1")
        assert '<textarea id="request"' in await tried(to="json")
        text = json.dumps({**wanted, "exclude": ["walk"]})
        page = await tried(mode="json", request=text)
        assert "rent" in page.partition("<dt>Chosen</dt>")[2][:40]
        # A form has no place for what is excluded.
        assert '<textarea id="request"' in await tried(mode="json", to="form", request=text)
        assert 'name="candidate.1.id" value="walk"' in await tried(mode="json", to="form", request=json.dumps(wanted))
        assert 'name="context.day_of_week"' in await tried(request_of="another")


@pytest.fixture(scope="module")
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with serving() as found:
        yield found


@pytest.mark.parametrize(
    ("form", "problem"),
    [
        ({"loop": "nosuch"}, "there is no loop &#39;nosuch&#39;"),
        ({"mode": "json", "request": "{"}, "not an object of JSON"),
        ({"mode": "json", "request": "{}"}, "missing required field `candidates`"),
        ({"candidate.0.id": "a", "candidate.1.id": "a"}, "candidates: two have the same id"),
        ({"user": "x" * 257, "candidate.0.id": "a"}, "user_id"),
    ],
)
async def test_mistakes(client: httpx.AsyncClient, form: dict[str, str], problem: str) -> None:
    """They are told on the page, beside what was typed."""
    whole = {"loop": "tips", "request_of": "tips", "seed": "no number", **form}
    answer = await client.post("/console/try", data=whole, headers=ORIGIN)
    assert answer.status_code == 422
    assert problem in answer.text
    assert 'role="alert"' in answer.text
