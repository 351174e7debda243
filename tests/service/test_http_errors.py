"""What is refused, how, and that a refusal changes nothing; what is accepted although it looks odd."""

import copy
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.support.bodies import POLICIES, candidate, contents, reward, score, target
from tests.support.processes import Server
from tests.support.redis_servers import RedisServer, redis_server
from tests.support.service import service

LIMIT = 2_097_152
LONG = "9" * 5_000
MARK = "@@"

# Nothing of this is a value of that kind; each is put into the body as it stands here.
ANYTHING = ["{}", "[]", "[1]", '{"a":1}']
NO_NUMBER = ["null", '"x"', '""', "NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" + "0" * 400, *ANYTHING]
NO_INT = [*NO_NUMBER, "1.5", '"1.5"', '"1e999"', '"NaN"', "1" + "0" * 30, "-1" + "0" * 18, "1e300", "--1", "0x1", "01"]
NO_FLOAT = [*NO_NUMBER, '"nan"', '"NaN"', '"inf"', '"-Infinity"', '"1e999"', "1.", ".5", "+1"]
NO_TEXT = ["null", "7", "1.5", "true", *ANYTHING, '"\\ud80"', '"\\ud83d\\u00"', '"\\x41"', '"\x01"', "'a'"]
NO_BOOL = ["null", '"maybe"', '""', "2", "-1", "1.5", "TRUE", *ANYTHING]
NO_OBJECT = ["1", '"x"', "true", "[]", "[1]", "[[]]"]
NO_ID = [*NO_TEXT, json.dumps("x" * 257), json.dumps("日" * 257)]

TASK = {
    "hour_of_day": [*NO_INT, "-1", "24", '"24"', "24.0"],
    "is_overdue": NO_BOOL,
    "task_age_days": NO_FLOAT,
    "priority": [*NO_INT, "0", "5", '"5"', "-1"],
}
CANDIDATE = {
    "": ["null", *NO_OBJECT],
    "id": NO_ID,
    "content": NO_TEXT,
    "source": NO_TEXT,
    "source_id": [token for token in NO_TEXT if token != "null"],
    "features": ["null", *NO_OBJECT],
    **{f"features.{name}": tokens for name, tokens in TASK.items()},
}
SCORE = {
    "user_id": [*NO_ID, '""'],
    "candidates": ["null", "{}", '"all"', "1", '["a"]', "[null]", "[[]]", "[{}]"],
    **{f"candidates.1.{name}".rstrip("."): tokens for name, tokens in CANDIDATE.items()},
    "context": ["null", *NO_OBJECT],
    "context.hour_of_day": TASK["hour_of_day"],
    "context.day_of_week": [*NO_INT, "-1", "7", '"7"'],
    "profile_features": NO_OBJECT,
}
REWARD = {
    "user_id": [*NO_ID, '""'],
    "tip_id": NO_ID,
    "reward": [*NO_FLOAT, "1.0000001", "-1.5", '"2"', "1e300"],
    "features": ["null", *NO_OBJECT],
    **{f"features.{name}": tokens for name, tokens in TASK.items()},
    "day_of_week": [*NO_INT, "-1", "7", '"7"'],
    "profile_features": NO_OBJECT,
}
FIELDS = [("score", field, tokens) for field, tokens in SCORE.items()]
FIELDS += [("reward", field, tokens) for field, tokens in REWARD.items()]
REQUIRED = [
    ("score", name) for name in ("user_id", "candidates", *(f"candidates.1.{n}" for n in ("id", "content", "source")))
]
REQUIRED += [("reward", name) for name in ("user_id", "tip_id", "reward", "features")]
VALID: dict[str, dict[str, Any]] = {"score": score(), "reward": reward()}
# A connection for each request: one that is kept for 5 s is closed just when a busy machine comes to use it again.
ANEW = httpx.Limits(max_keepalive_connections=0)


@pytest.fixture(scope="module")
def served(store: RedisServer) -> Iterator[Server]:
    environ = {"MAX_BODY_BYTES": str(LIMIT), "STORE_TIMEOUT_SECONDS": "30", "MAX_REQUEST_SECONDS": "600"}
    with service({"REDIS_URL": store.url, **environ}) as server:
        yield server


@pytest.fixture
def client(store: RedisServer, served: Server) -> Iterator[httpx.Client]:
    """A client of the service, of which `ann` has used every policy and no other user any."""
    store.command("FLUSHALL")
    with httpx.Client(base_url=served.url, timeout=60, limits=ANEW) as client:
        for suffix in POLICIES.values():
            assert client.post(f"/score{suffix}", json=score()).status_code == 200
            assert client.post(f"/reward{suffix}", json=reward()).status_code == 200
        yield client


def put(body: Any, field: str, value: Any) -> Any:
    """A copy of `body` with the field at this dotted path set."""
    body = copy.deepcopy(body)
    *path, last = field.split(".")
    at = body
    for name in path:
        at = at[int(name) if isinstance(at, list) else name]
    at[int(last) if isinstance(at, list) else last] = value
    return body


def drop(body: Any, field: str) -> Any:
    """A copy of `body` without the field at this dotted path."""
    *path, last = field.split(".")
    body = copy.deepcopy(body)
    at = body
    for name in path:
        at = at[int(name) if isinstance(at, list) else name]
    del at[last]
    return body


def is_error(answer: httpx.Response, status: int) -> bool:
    """Whether an answer is this error as every client can read it: JSON with `detail`."""
    if answer.status_code != status or not answer.headers["content-type"].startswith("application/json"):
        return False
    body = answer.json()
    return isinstance(body, dict) and bool(body.get("detail"))


def refuse(client: httpx.Client, store: RedisServer, route: str, bodies: list[bytes]) -> None:
    """Every body is answered 422 on the three routes, and then Redis is as it was."""
    before = contents(store)
    wrong = []
    for body in bodies:
        for suffix in POLICIES.values():
            answer = client.post(f"/{route}{suffix}", content=body)
            if not is_error(answer, 422):
                wrong.append((f"/{route}{suffix}", body[:300], answer.status_code, answer.text[:300]))
    assert wrong == []
    assert contents(store) == before


@pytest.mark.parametrize(("route", "field", "tokens"), FIELDS, ids=[f"{route}-{field}" for route, field, _ in FIELDS])
def test_a_wrong_value_is_refused(
    client: httpx.Client, store: RedisServer, route: str, field: str, tokens: list[str]
) -> None:
    """A value of a wrong type, out of range or not finite is answered 422, at every field, and writes nothing."""
    template = json.dumps(put(VALID[route], field, MARK))
    refuse(client, store, route, [template.replace(f'"{MARK}"', token).encode() for token in tokens])


@pytest.mark.parametrize(("route", "field"), REQUIRED)
def test_a_missing_field_is_refused(client: httpx.Client, store: RedisServer, route: str, field: str) -> None:
    """Fields without a default must be there."""
    refuse(client, store, route, [json.dumps(drop(VALID[route], field)).encode()])


@pytest.mark.parametrize("route", ["score", "reward"])
def test_a_body_that_is_no_json_object_is_refused(client: httpx.Client, store: RedisServer, route: str) -> None:
    """Empty, truncated, wrongly encoded or otherwise broken bodies are answered 422 and write nothing."""
    valid = json.dumps(VALID[route]).encode()
    refuse(
        client,
        store,
        route,
        [
            b"",
            b" ",
            b"null",
            b"1",
            b'"text"',
            b"[]",
            b"{}",
            b"[" + valid + b"]",
            *(valid[:cut] for cut in range(1, len(valid), 23)),
            valid + b"x",
            valid + valid,
            valid[:-1] + b",}",
            valid.replace(b'"', b"'"),
            b"\xef\xbb\xbf\xef\xbb\xbf" + valid,
            valid + b"\xef\xbb\xbf",
            valid.decode().encode("utf-16"),
            valid.replace(b"ann", b"\xff\xfe"),
            valid.replace(b"ann", b"\xed\xa0\x80"),
            valid.replace(b"ann", b"\xc0\xaf"),
            valid[:-1] + b',"later":"\xff"}',
            b"user_id=ann",
            b"\x00" * 100,
        ],
    )


@pytest.mark.parametrize("route", ["score", "reward"])
def test_deep_nesting_is_refused(client: httpx.Client, store: RedisServer, route: str) -> None:
    """100,000 brackets, alone, unclosed, in a field that is read and in one that is not, are an error of the client."""
    valid = VALID[route]
    deep = ["[" * 100_000 + "]" * 100_000, '{"a":' * 100_000 + "1" + "}" * 100_000, "[" * 100_000, '{"a":' * 100_000]
    bodies = list(deep)
    for field in ("user_id", "features.more", "profile_features", "profile_features.preferred_hour", "unknown"):
        place = field if route == "reward" or not field.startswith("features") else f"candidates.0.{field}"
        template = json.dumps(put(valid, place, MARK))
        bodies += [template.replace(f'"{MARK}"', value) for value in deep]
    refuse(client, store, route, [body.encode() for body in bodies])


def test_no_candidates_is_said_so(client: httpx.Client, store: RedisServer) -> None:
    """An empty list of candidates has its own words, which clients of the first system know."""
    before = contents(store)
    for suffix in POLICIES.values():
        answer = client.post(f"/score{suffix}", json=score(count=0))
        assert (answer.status_code, answer.json()["detail"]) == (422, "No candidates")
    assert contents(store) == before


def test_there_are_at_most_a_thousand_candidates(client: httpx.Client, store: RedisServer) -> None:
    """1,000 candidates are served and 1,001 refused."""
    assert client.post("/score/egreedy/v2", json=score(count=1_000)).status_code == 200
    refuse(client, store, "score", [json.dumps(score(count=1_001)).encode()])


def test_a_body_may_be_as_long_as_the_limit_and_no_longer(client: httpx.Client, store: RedisServer) -> None:
    """MAX_BODY_BYTES bytes are read; one more is answered 413 on every route, whether its length is said or not."""
    body = json.dumps(reward()).encode()
    full = body + b" " * (LIMIT - len(body))

    def pieces(text: bytes) -> Iterator[bytes]:
        for start in range(0, len(text), 65_536):
            yield text[start : start + 65_536]

    assert client.post("/reward", content=full).status_code == 200
    assert client.post("/reward", content=pieces(full)).status_code == 200
    before = contents(store)
    for route in ("/score", "/reward", "/score/egreedy", "/reward/egreedy", "/score/egreedy/v2", "/generate"):
        assert is_error(client.post(route, content=full + b" "), 413), route
        assert is_error(client.post(route, content=pieces(full + b" ")), 413), route
    assert contents(store) == before


def test_unknown_routes_are_404(client: httpx.Client, store: RedisServer) -> None:
    """An unknown path is answered 404 with `detail`, whatever the method. A slash at its end is dropped."""
    before = contents(store)
    for path in (
        "/nothing",
        "/scores",
        "/score/ucb",
        "/stats",
        "/stats/",
        "/features",
        "/reset",
        "/stats/a/b",
        "/reset/a/b",
    ):
        for method in ("GET", "POST", "DELETE"):
            answer = client.request(method, path, follow_redirects=True)
            assert is_error(answer, 404), (method, path, answer.status_code, answer.text)
    assert contents(store) == before


def test_wrong_methods_are_405(client: httpx.Client, store: RedisServer) -> None:
    """A route asked with another method is answered 405 with `detail`, and says which methods it takes."""
    before = contents(store)
    posts = [f"/{verb}{suffix}" for verb in ("score", "reward") for suffix in POLICIES.values()] + [
        "/reset/ann",
        "/generate",
    ]
    gets = [f"/stats{suffix}/ann" for suffix in POLICIES.values()] + ["/features/ann", "/health"]
    for allowed, wrong, paths in (("POST", "GET", posts), ("GET", "POST", gets)):
        for path in paths:
            for method in (wrong, "PUT", "PATCH", "DELETE"):
                answer = client.request(method, path)
                assert is_error(answer, 405), (method, path, answer.status_code, answer.text)
                assert allowed in answer.headers["allow"].split(", ")
    assert contents(store) == before


def test_odd_but_clear_values_are_accepted(client: httpx.Client) -> None:
    """Numeric strings and floats without a fraction pass for ints, texts and 0 or 1 for bools; unknown fields are
    ignored. They mean what they say: theta is the same as after the plain values."""
    plain = reward("plain", value=1, hour_of_day=7, is_overdue=True, task_age_days=3.0, priority=2)
    odd: list[dict[str, Any]] = [{}] * 4
    odd[0] = {"hour_of_day": "7", "is_overdue": "true", "task_age_days": "3", "priority": "2"}
    odd[1] = {"hour_of_day": 7.0, "is_overdue": "True", "task_age_days": 3, "priority": 2.0}
    odd[2] = {"hour_of_day": "7", "is_overdue": 1, "task_age_days": "3.0", "priority": 2, "unknown": [{}]}
    odd[3] = {"hour_of_day": 7, "is_overdue": "1", "task_age_days": "3e0", "priority": "2"}
    assert client.post("/reward/egreedy/v2", json=plain).status_code == 200
    for index, features in enumerate(odd):
        for route, body in (
            ("reward", {"reward": "1", "day_of_week": "1", "features": features, "more": None}),
            ("reward", {"reward": 1, "day_of_week": 1.0, "features": features}),
        ):
            user = f"odd-{index}-{body['day_of_week']!r}"
            answer = client.post(f"/{route}/egreedy/v2", json=plain | {"user_id": user} | body)
            assert answer.status_code == 200, (features, answer.text)
            assert answer.json() == {"ok": True}
            theta = client.get(f"/stats/egreedy/v2/{user}").json()["theta"]
            assert theta == client.get("/stats/egreedy/v2/plain").json()["theta"]
        body = score() | {"candidates": [candidate(**features)], "context": {"hour_of_day": "7", "day_of_week": 1.0}}
        assert client.post("/score/egreedy/v2", json=body).status_code == 200


HALF = r"\ud83d"


@pytest.mark.parametrize("route", ["score", "reward"])
def test_half_an_emoji_is_read(client: httpx.Client, route: str) -> None:
    """Half of a surrogate pair, in a text that is used or not or in a name, is read as U+FFFD; a byte-order mark before
    a body is passed over."""
    body: dict[str, Any] = copy.deepcopy(VALID[route]) | {"user_id": "half", "unknown": [{"x@@": "@@"}], "y@@": 1}
    if route == "score":
        body["candidates"] = [candidate("tip-@@") | {"content": "abc @@", "source": "@@", "source_id": "@@"}]
    text = b"\xef\xbb\xbf" + json.dumps(body).replace(MARK, HALF).encode()
    for suffix in POLICIES.values():
        answer = client.post(f"/{route}{suffix}", content=text)
        assert answer.status_code == 200, answer.text
        assert route == "reward" or answer.json()["tip_id"] == "tip-\ufffd"
        assert client.get(f"/stats{suffix}/half").json()["pulls" if route == "score" else "reward_count"] == 1
    refused = client.post(f"/{route}", content=text.replace(b'"half"', b'"half-%b"' % HALF.encode()))
    assert (refused.status_code, refused.json()["detail"]) == (422, "half of a surrogate pair - at `$.user_id`")


def test_a_mended_reward_repeats_itself(client: httpx.Client) -> None:
    """With an Idempotency-Key the repeat of a mended body is known, and one that says something else is refused."""
    text = json.dumps(put(reward("cut") | {"tip_id": "cut-@@"}, "profile_features.preferred_hour", MARK)).replace(
        f'"{MARK}"', "NaN"
    )
    text = text.replace(MARK, HALF)
    headers = {"Idempotency-Key": "mended"}
    for replayed in (None, "true", "true"):
        answer = client.post("/reward/egreedy/v2", content=text, headers=headers)
        assert (answer.status_code, answer.headers.get("idempotent-replayed")) == (200, replayed)
    assert client.get("/stats/egreedy/v2/cut").json()["reward_count"] == 1
    other = text.replace('"reward": 1.0', '"reward": 0.5')
    assert client.post("/reward/egreedy/v2", content=other, headers=headers).status_code == 422


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_a_constant_of_python_in_a_profile_is_absent(client: httpx.Client, store: RedisServer, value: str) -> None:
    """A profile value that is NaN or infinite counts as absent; anywhere else it is refused."""
    names = ("completion_rate_30d", "dismiss_rate_30d", "mean_dwell_ms_30d", "preferred_hour", "tip_volume_30d")
    for index, profile in enumerate(({}, dict.fromkeys(names, MARK), {"more": [MARK], "looks like": f"NaN {MARK}"})):
        body = reward(f"profile-{index}") | {"profile_features": profile}
        text = json.dumps(body).replace(f'"{MARK}"', value)
        assert client.post("/reward/egreedy/v2", content=text).status_code == 200
        text = json.dumps(score(f"profile-{index}") | {"profile_features": profile}).replace(f'"{MARK}"', value)
        assert client.post("/score/egreedy/v2", content=text).status_code == 200
        theta = client.get(f"/stats/egreedy/v2/profile-{index}").json()["theta"]
        assert theta == client.get("/stats/egreedy/v2/profile-0").json()["theta"]
    for verb, valid in VALID.items():
        odd = put(put(valid, "profile_features.preferred_hour", MARK), "later", MARK)
        refuse(client, store, verb, [json.dumps(odd).replace(f'"{MARK}"', value).encode()])


def test_little_needs_to_be_said(client: httpx.Client) -> None:
    """Every field with a default may be left out, and what may be null may be null."""
    short = {"id": "t", "content": "", "source": ""}
    bodies: list[dict[str, Any]] = [
        {"user_id": "bob", "candidates": [short]},
        {"user_id": "bob", "candidates": [short | {"source_id": None, "features": {}}], "context": {}},
        {"user_id": "bob", "candidates": [short], "profile_features": None},
        {"user_id": "bob", "candidates": [short | {"id": "x" * 256, "content": "y" * 10_000}]},
    ]
    for body in bodies:
        for policy, suffix in POLICIES.items():
            answer = client.post(f"/score{suffix}", json=body)
            assert answer.status_code == 200, answer.text
            assert answer.json()["policy"] == policy
    for suffix in POLICIES.values():
        for value in (-1, 1, 0, 0.25):
            body = {"user_id": "bob", "tip_id": "", "reward": value, "features": {}}
            assert client.post(f"/reward{suffix}", json=body).status_code == 200


@pytest.mark.parametrize(
    "value", [LONG, "1e999", "-1e999", '"1e999"', '"nan"', '"  7 "', "true", "[[]]", '"' + "9" * 5_000 + '"', "null"]
)
def test_an_odd_profile_is_no_error_of_the_service(client: httpx.Client, value: str) -> None:
    """A profile value may be anything JSON can say; what it cannot be is a reason to answer 5xx or to spoil theta."""
    names = ("completion_rate_30d", "dismiss_rate_30d", "mean_dwell_ms_30d", "preferred_hour", "tip_volume_30d")
    for name in names:
        text = json.dumps(put(reward("bob"), f"profile_features.{name}", MARK)).replace(f'"{MARK}"', value)
        # Only an integer too long to be read at all is none.
        assert client.post("/reward/egreedy/v2", content=text).status_code == (422 if value == LONG else 200)
    theta = client.get("/stats/egreedy/v2/bob").json()["theta"]
    assert all(isinstance(number, float) and abs(number) < 10 for number in theta)


USERS = [
    "a.b",
    "a_b",
    "a-b",
    "a b",
    "a+b",
    "a%20b",
    "}x",
    "{}",
    "{x}",
    "x",
    "日本",
    "%E6%97%A5%E6%9C%AC",
    "egreedy",
    "v2",
    "egreedy/v2",
    "egreedy/v2/x",
    "egreedy/x",
    "a/b",
    "a%2Fb",
    "a%2fb",
    "/",
    "//",
    ".",
    "..",
    "../x",
    "?",
    "#",
    "a?b",
    "*",
    "a:history",
    "a\x00b",
    "a\nb",
    "e\u0301",
    "\u00e9",
    "Ann",
    "ANN",
    "x" * 256,
    "x" * 255,
    "日" * 256,
    "😀" * 256,
]


def test_users_stay_apart(client: httpx.Client) -> None:
    """Whatever characters an id has, each user has a model and a history of their own on every route."""
    paths = {user: quote(user, safe="").replace(".", "%2E") for user in USERS}
    counts = {user: 1 + index % 3 for index, user in enumerate(USERS)}
    values = {user: index / len(USERS) for index, user in enumerate(USERS)}
    for user in USERS:
        for suffix in POLICIES.values():
            for _ in range(counts[user]):
                assert client.post(f"/score{suffix}", json=score(user)).status_code == 200
            assert client.post(f"/reward{suffix}", json=reward(user, values[user])).status_code == 200

    def stats(suffix: str, user: str) -> tuple[str, int, int, float]:
        answer = client.get(f"/stats{suffix}/{paths[user]}")
        assert answer.status_code == 200, (suffix, user, answer.text)
        body = answer.json()
        return body["user_id"], body["pulls"], body["reward_count"], body["cumulative_reward"]

    def history(user: str) -> tuple[str, int]:
        answer = client.get(f"/features/{paths[user]}")
        assert answer.status_code == 200, (user, answer.text)
        return answer.json()["user_id"], len(answer.json()["history"])

    for user in USERS:
        for suffix in POLICIES.values():
            assert stats(suffix, user) == (user, counts[user], 1, values[user])
        assert history(user) == (user, 3 * counts[user])
    gone = USERS[::2]
    for user in gone:
        answer = client.post(f"/reset/{paths[user]}")
        assert (answer.status_code, answer.json()) == (200, {"ok": True})
    for user in USERS:
        left = user not in gone
        for suffix in POLICIES.values():
            assert stats(suffix, user) == (user, counts[user] * left, int(left), values[user] * left)
        assert history(user) == (user, 3 * counts[user] * left)


@pytest.mark.parametrize(
    "method_and_route",
    ["GET /stats/", "GET /stats/egreedy/", "GET /stats/egreedy/v2/", "GET /features/", "POST /reset/"],
)
def test_a_user_that_cannot_be_is_refused(client: httpx.Client, store: RedisServer, method_and_route: str) -> None:
    """An id of more than 256 characters or one that is no UTF-8 is answered 422 and changes nothing."""
    method, route = method_and_route.split()
    before = contents(store)
    for user in ("x" * 257, quote("日" * 257), "%FF", "a%C3", "%ED%A0%80", "%C0%AF"):
        answer = target(client, method, f"{route}{user}".encode())
        assert is_error(answer, 422), (user, answer.status_code, answer.text)
    assert contents(store) == before


def test_a_store_that_is_away_is_said_so() -> None:
    """Without Redis every request for state is answered 503 with Retry-After, and served again once it is back."""
    with (
        redis_server() as server,
        service({"REDIS_URL": server.url, "STORE_TIMEOUT_SECONDS": "30"}) as served,
        httpx.Client(base_url=served.url, timeout=60, limits=ANEW) as client,
    ):
        requests: list[tuple[str, str, Any]] = [("GET", "/features/ann", None), ("POST", "/reset/ann", None)]
        for suffix in POLICIES.values():
            requests += [("POST", f"/score{suffix}", score()), ("POST", f"/reward{suffix}", reward())]
            requests += [("GET", f"/stats{suffix}/ann", None)]
        server.kill()
        for method, path, body in requests:
            answer = client.request(method, path, json=body)
            assert is_error(answer, 503), (method, path, answer.status_code, answer.text)
            assert int(answer.headers["retry-after"]) >= 1
        assert client.post("/score", content=b"{").status_code == 422
        address = f"127.0.0.1:{server.port}"
        assert f"Redis cannot be reached ({address}: Connection refused): requests are answered 503" in served.log
        server.start()
        for method, path, body in requests:
            assert client.request(method, path, json=body).status_code == 200, (method, path)


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/stats/ann/", "../ann"),
        ("/stats/egreedy/a%2Fb/?x=y", "../a%2Fb?x=y"),
        ("/health/live/", "../live"),
    ],
)
def test_a_slash_at_the_end_leads_to_the_path_without_it(client: httpx.Client, path: str, location: str) -> None:
    """The redirect is relative, so that it holds behind a prefix, and it keeps method, query and encoding."""
    answer = client.get(path)
    assert (answer.status_code, answer.headers["location"]) == (307, location)
    assert client.get(path, follow_redirects=True).status_code == 200


def test_a_post_follows_the_slash(client: httpx.Client) -> None:
    """A score to `/score/` is answered as one to `/score` by a client that follows redirects."""
    assert client.post("/score/", json=score(), follow_redirects=True).json()["policy"] == "linucb-v1"
