"""The service's own reference: complete, valid, and made of messages that the service really takes and gives."""

import asyncio
import base64
import functools
import hashlib
import html
import json
import random
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from typing import Any, cast
from unittest.mock import ANY

import httpx
import jsonschema_rs
import pytest
from litestar import Litestar
from msgspec.structs import asdict
from schemathesis.specs.openapi.definitions import OPENAPI_31

from app.bandit.context import Context
from app.http.api_keys import ROLES, make_key
from app.main import create_app
from app.messages.classic import CandidateFeatures
from app.messages.decision_ids import decision_id, made
from app.policies.catalog import policies
from app.reference.examples import ROUTES
from app.settings import Secret, Settings
from app.tips import chat as llm
from tests.support.processes import Server, free_port
from tests.support.redis_servers import RedisServer
from tests.support.service import service
from tests.support.standin import Asked, completion, http, stand_in
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.anyio

NOW = 1_795_438_044.0
TIP = '[{"content": "Pay the rent before lunch.", "rationale": "It is overdue."}]'
Model = Callable[[httpx.Request], Any]
Operation = tuple[str, str, dict[str, Any]]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the service bounds by a time of its own has plenty of it: a busy machine must not change an answer."""
    monkeypatch.setattr("app.api.health._PING_SECONDS", PATIENCE_SECONDS)
    # One test has a call to the language model wait until many other requests are answered.
    monkeypatch.setattr("app.main.connect", functools.partial(llm.connect, timeout_seconds=10 * PATIENCE_SECONDS))


def tip(_: httpx.Request) -> httpx.Response:
    """What the proxy answers in the examples."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": TIP}}
    usage = {"prompt_tokens": 180, "completion_tokens": 30, "total_tokens": 210}
    return httpx.Response(200, json={"model": "gpt-4o-mini", "choices": [choice], "usage": usage})


@asynccontextmanager
async def serving(
    model: Model = tip, redis_url: str = "memory://", **settings: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the service in this process, at the time of the examples."""
    chosen = Settings(
        redis_url=Secret(redis_url),
        litellm_master_key=Secret("sk-1"),
        drain_seconds=0,
        store_timeout_seconds=PATIENCE_SECONDS,
        **settings,
    )
    app = create_app(chosen, clock=lambda: NOW, chance=random.Random(7), llm_transport=httpx.MockTransport(model))
    transport = httpx.ASGITransport(cast("Any", app))  # the same protocol in other words
    async with litestar(app).lifespan(), httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        yield client


def litestar(app: Any) -> Litestar:
    """The application within what is wrapped around it."""
    while not isinstance(app, Litestar):
        app = app._app
    return app


@pytest.fixture(scope="module")
async def document() -> dict[str, Any]:
    """The document as it is served."""
    async with serving() as client:
        answer = await client.get("/schema/openapi.json")
    assert answer.headers["content-type"].startswith("application/json")
    found: dict[str, Any] = answer.json()
    return found


def operations(document: dict[str, Any]) -> Iterator[Operation]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def request(method: str, path: str, operation: dict[str, Any]) -> dict[str, Any]:
    """The documented example of a request, as httpx takes it."""
    headers = {}
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", parameter["example"])
        elif parameter["in"] == "header":
            headers[parameter["name"]] = parameter["example"]
    body = operation.get("requestBody", {"content": {}})["content"].get("application/json")
    return {"method": method, "url": path, "headers": headers, "json": body and body["example"]}


def validator(document: dict[str, Any], schema: dict[str, Any]) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(schema | {"components": document["components"]})


_VARIES = ("milliseconds", "deadline", "decided_at", "rewarded_at", "seed", "at")


def alike(value: object, varies: tuple[str, ...] = _VARIES) -> object:
    """The value such that equal ones compare equal on every machine: sums may differ in the last digit, and how fast
    Redis is, its clock and the seeds differ always."""
    if isinstance(value, dict):
        return {name: ANY if item and name in varies else alike(item, varies) for name, item in value.items()}
    if isinstance(value, list):
        return [alike(item, varies) for item in value]
    return pytest.approx(value, rel=1e-9) if isinstance(value, float) else value


async def test_document_is_openapi(document: dict[str, Any]) -> None:
    """The document is valid OpenAPI 3.1, its schemas are valid JSON Schema, and every reference leads somewhere."""
    jsonschema_rs.validator_for(OPENAPI_31).validate(document)
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.meta.validate(schema)
        validator(document, schema)  # its patterns are those of JSON Schema, which lacks some of Python's
    names = set(re.findall(r'"\$ref":\s*"([^"]*)"', json.dumps(document)))
    assert names <= {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(ids) == len(set(ids))


async def test_every_route_is_described(document: dict[str, Any]) -> None:
    """What is registered, what is described and what the document shows are the same routes, but for those that stand
    for another: HEAD for GET, / for /schema, and paths of their own for users called `egreedy` and `v2`. The pages of
    the console are for people."""
    app = litestar(create_app(Settings(console=False)))
    registered = {f"{method} {route.path_format}" for route in app.routes for method in getattr(route, "methods", ())}
    registered -= {name for name in registered if name.startswith("OPTIONS ")}
    heads = {name for name in registered if name.startswith("HEAD ")}
    assert {name.replace("HEAD", "GET") for name in heads} <= registered
    assert registered - heads - {"GET /stats/egreedy", "GET /stats/egreedy/v2", "GET /"} == ROUTES.keys()
    assert [f"{method} {path}" for method, path, _ in operations(document)] == list(ROUTES)


async def test_bounds_and_defaults_are_those_of_the_messages(document: dict[str, Any]) -> None:
    """The document knows what is required, what is bounded, and what a field is that is left out."""
    schemas = document["components"]["schemas"]
    assert schemas["CandidateFeatures"]["properties"]["priority"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 4,
        "description": "Default: `1`.",
    }
    candidates = schemas["ScoreRequest"]["properties"]["candidates"]
    assert (candidates["minItems"], candidates["maxItems"]) == (1, 1_000)
    assert schemas["RewardRequest"]["required"] == ["user_id", "tip_id", "reward", "features"]
    (user,) = document["paths"]["/stats/{user_id}"]["get"]["parameters"]
    assert (user["schema"]["minLength"], user["schema"]["maxLength"]) == (1, 256)


async def test_generators_find_what_they_need(document: dict[str, Any]) -> None:
    """Operations are called what they do, objects without known fields say that they may have any, times are such, and
    the features of a profile and of every theta have names."""
    ids = {f"{method} {path}": operation["operationId"] for method, path, operation in operations(document)}
    assert ids["DELETE /users/{user_id}"] == "erase_user"
    assert ids["GET /features/{user_id}"] == "get_history"
    assert ids["GET /decisions/{decision_id}"] == "get_decision"
    assert ids["POST /score/egreedy/v2"] == "score_egreedy_v2"
    schemas = document["components"]["schemas"]

    def objects(node: object) -> Iterator[dict[str, Any]]:
        if isinstance(node, dict):
            if node.get("type") == "object":
                yield node
            for inner in node.values():
                yield from objects(inner)
        elif isinstance(node, list):
            for inner in node:
                yield from objects(inner)

    bare = [node for node in objects(document) if not {"properties", "additionalProperties", "$ref"} & node.keys()]
    assert bare == []
    for schema in schemas.values():  # a default would make generators for TypeScript ask for the field
        assert not [field for field, type_ in schema["properties"].items() if "default" in type_]
    assert schemas["DecisionRequest"]["required"] == ["user_id", "candidates"]
    assert schemas["DecisionState"]["required"] == list(schemas["DecisionState"]["properties"])
    assert set(schemas["OutcomeAnswer"]["properties"]) - set(schemas["OutcomeAnswer"]["required"]) == {
        "late",
        "skipped",
    }
    assert schemas["GenerateContext"]["properties"]["extra"]["additionalProperties"] is True
    assert schemas["HistoryEntry"]["properties"]["ts"]["format"] == "date-time"
    assert schemas["StatisticsAnswer"]["properties"]["last_updated"]["anyOf"][0]["format"] == "date-time"
    theta = schemas["StatisticsAnswer"]["properties"]["theta"]["description"]
    assert ", ".join(policies(1, 0)["linucb-v1"].labels) in theta
    for message in ("ScoreRequest", "RewardRequest", "GenerateRequest"):
        profile, null = schemas[message]["properties"]["profile_features"]["anyOf"]
        assert (profile["$ref"], null["type"]) == ("#/components/schemas/ProfileFeatures", "null")


async def test_a_profile_is_what_the_document_says(document: dict[str, Any]) -> None:
    """Each feature that it names changes what `egreedy-v2` sees within the documented range, and not beyond it."""
    profile = document["components"]["schemas"]["ProfileFeatures"]["properties"]
    policy = policies(1, 0)["egreedy-v2"]
    task = asdict(CandidateFeatures())

    def sees(**known: float) -> list[float]:
        row: list[float] = policy.see(Context({"hour_of_day": 7, "day_of_week": 0}, known), [task])[0].tolist()
        return row

    assert len(profile) == 5
    for name, described in profile.items():
        number = described["anyOf"][0]
        assert described["description"]
        least, most = number["minimum"], number.get("maximum", 100)
        assert sees(**{name: least}) != sees(**{name: most / 2})
        if name == "preferred_hour":  # it goes round
            assert sees(**{name: least}) == pytest.approx(sees(**{name: most}))
        else:
            assert sees() == sees(**{name: least}) == sees(**{name: least - 1})
            assert sees(**{name: most}) == pytest.approx(sees(**{name: most + 1}))


async def test_the_front_leads_to_the_reference(document: dict[str, Any]) -> None:
    """GET / leads to /schema by a relative address, so under a prefix too, and wants no key."""
    _, line = make_key("someone", "admin")
    async with serving(api_keys=Secret(line)) as client:
        answer = await client.get("/")
        assert (answer.status_code, answer.headers["location"], answer.content) == (307, "schema", b"")
        assert str(httpx.URL("http://here/bandit/").join(answer.headers["location"])) == "http://here/bandit/schema"
        assert (await client.get("/", follow_redirects=True)).headers["content-type"].startswith("text/html")
    assert "`GET /` leads to `/schema`" in document["info"]["description"]


def test_head_is_get_without_a_body(served: Server) -> None:
    """The probes and the reference say the length that GET has, and the connection stays in step."""
    with httpx.Client(base_url=served.url, timeout=PATIENCE_SECONDS) as client:
        for path in ("/health", "/health/live", "/health/ready", "/schema", "/schema/openapi.json", "/"):
            head, get = client.head(path), client.get(path)
            assert (head.status_code, head.content) == (get.status_code, b""), path
            assert head.status_code in (200, 307)
            assert head.headers["content-type"] == get.headers["content-type"]
            if path != "/health":  # how fast Redis is differs
                assert head.headers["content-length"] == get.headers["content-length"]


async def test_examples_are_a_conversation(document: dict[str, Any]) -> None:
    """Every example request, sent in order to a fresh service, is answered as the document shows, and by its schema."""
    async with serving() as client:
        for method, path, operation in operations(document):
            answer = await client.request(**request(method, path, operation))
            assert answer.status_code == 200, (path, answer.text)
            ((media, content),) = operation["responses"]["200"]["content"].items()
            assert answer.headers["content-type"].partition(";")[0] == media
            if media == "application/json":
                validator(document, content["schema"]).validate(answer.json())
            if "example" in content:
                validator(document, content["schema"]).validate(content["example"])
                # Decisions with ids are made at the time of Redis, the first system's at that of the service.
                varies = (*_VARIES, "last_updated") if path == "/users/{user_id}" else _VARIES
                assert answer.json() == alike(content["example"], varies), path


async def test_example_of_a_repeated_reward(document: dict[str, Any]) -> None:
    """Each reward's example, sent again, says in the documented header that it was known."""
    async with serving() as client:
        for method, path, operation in operations(document):
            headers = operation["responses"]["200"].get("headers", {})
            known = ("/decisions", *(f"/reward{row.classic.route}" for row in policies().values()))
            assert ("Idempotent-Replayed" in headers) == (path in known)
            for name in headers:
                example = request(method, path, operation)
                first, again = [await client.request(**example) for _ in range(2)]
                assert name not in first.headers
                validator(document, headers[name]["schema"]).validate(again.headers[name])


def spoiled(example: dict[str, Any], detail: str) -> dict[str, Any]:
    """The example request, changed such that it is refused with `detail`."""
    body = dict(example["json"] or {})
    changes: dict[str, dict[str, Any]] = {
        "No candidates": {"candidates": []},
        "Expected `float` <= 1.0 - at `$.reward`": {"reward": 5},
        "unknown prompt version 'v9', there are v1, v2": {"prompt_version": "v9"},
        "Expected `array` of length >= 1 - at `$.candidates`": {"candidates": []},
        "Expected `float`, got `str` - at `$.reward`": {"reward": "much"},
        "Expected `array`, got `str` - at `$.decisions`": {"decisions": "all"},
        "Expected `array`, got `str` - at `$.rewards`": {"rewards": "all"},
        "takes one of canary, champion and back": {"back": True},
    }
    if detail in changes:
        return example | {"json": body | changes[detail]}
    if detail == "Expected `int | null`, got `str` - at `$.if_n`":
        return example | {"params": {"if_n": "last"}}
    assert detail == "the user id in the path must have 1 to 256 characters"
    return example | {"url": re.sub("ann|bea", "a" * 257, example["url"])}


async def prepare(client: httpx.AsyncClient, detail: str, whole: str) -> None:
    """Bring the decision `whole` to where the example request contradicts it."""
    local = whole.partition(".")[0]
    body = {"user_id": "bea", "id": local, "candidates": [{"id": "rent"}]}
    assert (await client.delete("/users/bea")).status_code == 200
    assert (await client.post("/decisions", json=body)).status_code == 200
    if "was cancelled" in detail:
        await client.post(f"/decisions/{whole}/cancel")
    elif "another reward" in detail or "has an outcome" in detail:
        await client.post(f"/decisions/{whole}/reward", json={"reward": 1})


def old(url: str) -> str:
    """The address of a decision that was made long ago."""
    return re.sub(r"/decisions/[^/]+", f"/decisions/{decision_id(made(0, 0), 'bea')}", url)


def failed(_: httpx.Request) -> httpx.Response:
    return httpx.Response(500, json={"error": {"message": "out of tokens"}})


def late(asked: httpx.Request) -> httpx.Response:
    raise httpx.ReadTimeout("", request=asked)


@asynccontextmanager
async def crowded() -> AsyncIterator[httpx.AsyncClient]:
    """A service that may serve one request at once, and does so."""
    asked, over = asyncio.Event(), asyncio.Event()

    async def slow(request: httpx.Request) -> httpx.Response:
        asked.set()
        await over.wait()
        return tip(request)

    async with serving(slow, max_inflight=1) as client:
        first = asyncio.create_task(client.post("/generate", json={"user_id": "ann"}))
        await asked.wait()
        yield client
        over.set()
        assert (await first).status_code == 200


async def test_errors_are_real(document: dict[str, Any], real_redis: RedisServer) -> None:
    """Each error of each route is provoked, and answered with the documented status, detail and headers."""
    with real_redis.client() as redis:
        redis.rpush("oo:{ann}:history", "{}")
        for policy in ("linucb-v1", "egreedy-v1", "egreedy-v2"):
            redis.hset(f"oo:{{ann}}:{policy}", mapping={"A": "", "b": ""})
    async with (
        serving() as fresh,
        serving() as contradicted,
        serving(redis_url=real_redis.url) as odd,
        serving(redis_url=f"redis://127.0.0.1:{free_port()}") as away,
        serving(metrics_key=Secret("key")) as keyed,
        serving(failed) as failing,
        serving(late) as waiting,
        crowded() as busy,
    ):
        for name, row in ROUTES.items():
            method, _, path = name.partition(" ")
            operation = document["paths"][path][method.lower()]
            for error in row.errors:
                example = request(method, path, operation)
                match error.status:
                    case 413:
                        client, example = fresh, example | {"json": None, "content": b" " * 2_097_153}
                    case 422:
                        client, example = fresh, spoiled(example, error.detail)
                    case 404:
                        client, example = fresh, example | {"url": example["url"].replace("/loops/tips", "/loops/tisp")}
                    case 409 if path == "/loops/{loop}":
                        client, example = fresh, example | {"json": example["json"] | {"because": ""}}
                    case 412:
                        client = contradicted
                        assert (await client.request(**example)).status_code == 200
                    case 428:
                        client, example = fresh, example | {"headers": {}}
                    case 409:
                        client = contradicted
                        await prepare(client, error.detail, example["url"].split("/")[2])
                    case 410:
                        client, example = fresh, example | {"url": old(example["url"])}
                    case 503:
                        client = waiting if "LLM" in error.detail else busy if "requests" in error.detail else away
                    case other:
                        client = {401: keyed, 500: odd, 502: failing}[other]
                answer = await client.request(**example)
                response = operation["responses"][str(error.status)]
                shown = response["content"]["application/json"]["example"]
                assert shown["detail"] == error.detail
                assert (answer.status_code, answer.json()) == (error.status, shown), name
                assert ("retry-after" in answer.headers) == ("Retry-After" in response.get("headers", {})), name
                for header, described in response.get("headers", {}).items():
                    validator(document, described["schema"]).validate(int(answer.headers[header]))


async def test_refusals_are_real(document: dict[str, Any]) -> None:
    """A service with keys refuses as documented: a caller without a key, with another role, or that asks too often."""
    made = {role: make_key(role, role) for role in ROLES}
    lines = Secret("\n".join(line for _, line in made.values()))
    headers = {role: {"Authorization": f"Bearer {key}"} for role, (key, _) in made.items()}
    tried = set()
    async with serving(api_keys=lines) as keyed, serving(api_keys=lines, rate_limit_per_second=1) as limited:
        for method, path, operation in operations(document):
            example = request(method, path, operation)
            roles = [role for scheme in operation.get("security", []) for names in scheme.values() for role in names]
            tried |= set(roles)
            for role in roles:
                other = next(name for name in ROLES if name != role)
                answers = [await keyed.request(**example), await keyed.request(**example | {"headers": headers[other]})]
                for _ in range(100):  # a second may end between two requests, but not between a hundred
                    answer = await limited.request(**example | {"headers": headers[role]})
                    if answer.status_code == 429:
                        break
                answers.append(answer)
                for status, answer in zip((401, 403, 429), answers, strict=True):
                    response = operation["responses"][str(status)]
                    shown = response["content"]["application/json"]["example"]
                    assert (answer.status_code, answer.json()) == (status, shown), path
                    assert ("retry-after" in answer.headers) == ("Retry-After" in response.get("headers", {})), path
            if not roles:
                assert "403" not in operation["responses"]
    assert tried == set(ROLES)


async def test_health_without_redis(document: dict[str, Any]) -> None:
    """What the document says of a service that cannot serve is what it answers then."""
    async with serving(redis_url=f"redis://127.0.0.1:{free_port()}") as client:
        for path in ("/health", "/health/ready"):
            response = document["paths"][path]["get"]["responses"]["503"]
            answer = await client.get(path)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert answer.json()["detail"] == "Redis cannot be reached"
            content = response["content"]["application/json"]
            for message in (answer.json(), content["example"]):
                validator(document, content["schema"]).validate(message)


class Page(HTMLParser):
    """The tags of a page, what they name elsewhere, and what a reader reads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.named: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.style = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.named += [value or "" for name, value in attrs if name in ("href", "src", "srcset", "action", "data")]
        assert not [name for name, _ in attrs if name.startswith("on") or name == "style"]

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] == ["style"] and not self.style:
            self.style = data
        self.text += data


@pytest.fixture
async def page() -> httpx.Response:
    async with serving() as client:
        return await client.get("/schema")


async def test_page_asks_for_nothing(page: httpx.Response) -> None:
    """The page has no script and loads nothing; a policy forbids it to, and allows its one style by a hash."""
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    found = Page(page.text)
    assert not {"script", "link", "img", "iframe", "object", "embed", "form", "base"} & set(found.tags)
    assert {name for name in found.named if not name.startswith("#")} == {"schema/openapi.json"}
    assert {name[1:] for name in found.named if name.startswith("#")} <= set(found.ids)
    assert len(found.ids) == len(set(found.ids))
    assert not re.search(r"url\(|@import", found.style)
    policy = page.headers["content-security-policy"]
    digest = base64.b64encode(hashlib.sha256(found.style.encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}';")
    assert "unsafe" not in policy


async def test_page_shows_all(page: httpx.Response, document: dict[str, Any]) -> None:
    """Every route, parameter, message, status and example of the document can be read on the page."""
    text = re.sub(r"\s+", "", Page(page.text).text)
    for method, path, operation in operations(document):
        assert f"{method}{path}" in text
        for parameter in operation.get("parameters", []):
            assert parameter["name"] in text
        for response in operation["responses"].values():
            for content in response["content"].values():
                if "example" in content:
                    assert re.sub(r"\s+", "", json.dumps(content["example"])) in text
    for name, schema in document["components"]["schemas"].items():
        assert name in text
        assert all(field in text for field in schema["properties"])


async def test_commands_of_the_page_work(page: httpx.Response, document: dict[str, Any]) -> None:
    """The curl command of every route, pasted into a shell from the first to the last, is answered 200."""
    commands = [html.unescape(found) for found in re.findall(r"<pre>(curl .*?)</pre>", page.text, re.DOTALL)]
    assert len(commands) == len(list(operations(document)))

    async def answer(_: Asked) -> bytes:
        return http(completion(TIP))

    async with stand_in(answer) as proxy:
        environ = {"LITELLM_URL": proxy.url, "LITELLM_MASTER_KEY": "sk-1", "STORE_TIMEOUT_SECONDS": "30"}
        with service(environ) as server:
            words = "--silent --output /dev/null --write-out '%{http_code} %{method} %{url}\\n' --max-time 60"
            words += f" --connect-to localhost:8000:127.0.0.1:{server.port}"
            shell = await asyncio.create_subprocess_exec(
                "bash", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
            )
            script = "\n".join([f'curl() {{ command curl {words} "$@"; }}', *commands])
            printed, _ = await shell.communicate(script.encode())
    asked = [request(*operation) for operation in operations(document)]
    assert printed.decode().splitlines() == [f"200 {one['method']} http://localhost:8000{one['url']}" for one in asked]
