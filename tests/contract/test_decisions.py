"""Decisions with ids over HTTP: each odd case, on every kind of store. Time is a clock that the tests turn."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import pytest

from app.messages.decision_ids import decision_id
from state import keys, parts
from state.redis.exchange import exchange
from state.values import record
from tests.support import bodies
from tests.support.decisions import (
    GRACE_SECONDS,
    POLICIES,
    WINDOW_SECONDS,
    Clock,
    Servers,
    clock,
    one_memory,
    replica,
)
from tests.support.redis_groups import redis_cluster, redis_sentinel
from tests.support.redis_servers import redis_server

pytestmark = pytest.mark.anyio

# One candidate, so that it is known what is learned.
BODY: Final[dict[str, Any]] = {
    "context": {"mood": 1},
    "candidates": [{"id": "a", "features": {"size": 1, "side": 0}}],
}
COLUMNS: Final = {"serves": np.array([1.0, 1.0, 0.0, 1.0]), "watches": np.array([1.0, 1.0, 1.0])}
BASELINE: Final = {"serves": 0.0, "watches": 1.0}
# The window of the built-in loop.
LONGEST_SECONDS: Final = 86_400
UNKNOWN: Final = {"detail": "there is no such decision"}
_numbers = itertools.count()


class User:
    """A user of the service behind `client`, who is in no other test, and what the store holds of her."""

    def __init__(self, client: httpx.AsyncClient, url: str, servers: Servers, directory: Path) -> None:
        self.id = f"user {next(_numbers)}"
        self.client = client
        self.url = url
        self.directory = directory
        self._servers = servers.open(url)

    def at(self, client: httpx.AsyncClient) -> "User":
        """The same user of another replica."""
        other = object.__new__(User)
        other.__dict__ = {**self.__dict__, "client": client}
        return other

    async def decide(self, loop: str, local: str | None = None, **more: Any) -> str:
        """The id of a new decision."""
        answer = await self.send(loop, local, **more)
        assert answer.status_code == 200, answer.text
        assert "idempotent-replayed" not in answer.headers
        return str(answer.json()["decision_id"])

    async def send(self, loop: str, local: str | None = None, **more: Any) -> httpx.Response:
        body = {"user_id": self.id, "loop": loop, **BODY, **({"id": local} if local else {}), **more}
        return await self.client.post("/decisions", json=body)

    async def tell(self, method: str, whole: str, reward: float | None = None, **more: Any) -> httpx.Response:
        """POST, PUT or DELETE a reward."""
        path = f"/decisions/{whole}/reward"
        if method == "DELETE":
            return await self.client.delete(path, params=more)
        return await self.client.request(method, path, json={"reward": reward, **more})

    async def post(self, whole: str, end: str) -> httpx.Response:
        return await self.client.post(f"/decisions/{whole}/{end}")

    async def status(self, whole: str) -> str:
        return str((await self.client.get(f"/decisions/{whole}")).json()["status"])

    async def ask(self, *command: str | int) -> Any:
        async with self._servers.connection(str(command[1])) as connection:
            [reply] = await exchange(connection, [command])
        return reply

    async def everything(self) -> list[Any]:
        """All there is of the user's decisions and models."""
        hashes = [keys.shared(self.id), keys.decisions(self.id), *(keys.record(self.id, name) for name in COLUMNS)]
        found = [await self.ask("HGETALL", key) for key in hashes]
        return [*found, await self.ask("ZRANGE", keys.agenda(self.id), 0, -1, "WITHSCORES")]

    async def has_learned(self, *rewards: float) -> None:
        """Each policy has learned these, in each of its ways, and nothing else."""
        for name, x in COLUMNS.items():
            key = keys.record(self.id, name)
            found = record.decode(key, len(x), await self.ask("HMGET", key, *map(bytes.decode, record.FIELDS)))
            a, b = (np.eye(len(x)), np.zeros(len(x))) if found is None else (found.a, found.b)
            assert np.array_equal(a, np.eye(len(x)) + len(rewards) * np.outer(x, x)), name
            assert np.array_equal(b, sum(reward - BASELINE[name] for reward in rewards) * x), name
            meta = found.meta if found else record.Meta()
            assert (meta.reward_count, meta.cumulative_reward) == (len(rewards), sum(rewards)), name


@pytest.fixture(scope="module", params=["memory", "redis", "sentinel", "cluster"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each kind of store in turn."""
    if request.param == "memory":
        yield "memory://"
    elif request.param == "redis":
        with redis_server() as server:
            yield server.url
    elif request.param == "sentinel":
        with redis_sentinel() as group:
            yield group.url
    else:
        with redis_cluster() as cluster:
            yield cluster.url


@pytest.fixture(scope="module")
def turned() -> Iterator[Clock]:
    with clock() as found:
        yield found


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("policies")


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with one_memory() as found:
        yield found


@pytest.fixture(scope="module")
async def client(url: str, servers: Servers, directory: Path, turned: Clock) -> AsyncIterator[httpx.AsyncClient]:
    async with replica(url, directory) as client:
        yield client


@pytest.fixture
async def user(client: httpx.AsyncClient, url: str, servers: Servers, directory: Path) -> AsyncIterator[User]:
    user = User(client, url, servers, directory)
    yield user
    if url != "memory://":  # that one belongs to the services too
        await user._servers.close()


@pytest.fixture
def time(turned: Clock) -> Clock:
    """The clock, set to its start: no user is in two tests."""
    turned.reset()
    return turned


def is_(answer: httpx.Response, code: int, /, **fields: Any) -> bool:
    """Whether an answer has this status and these fields; none but 503 asks for a repetition."""
    assert ("retry-after" in answer.headers) == (answer.status_code == 503)
    found = answer.json()
    assert (answer.status_code, {name: found.get(name) for name in fields}) == (code, fields), answer.text
    return True


# A decision, and the same again


async def test_a_decision_repeated(user: User, time: Clock) -> None:
    """The same id and body, whatever the order of fields and the spaces: the stored answer, and nothing changes."""
    answer = await user.send("plain", "x")
    assert is_(answer, 200, decision_id=decision_id("x", user.id), candidate_id="a", index=0, propensity=1.0)
    assert is_(answer, 200, status="open", policy="serves", deadline="2027-01-15T09:00:00Z", loop="plain")
    before = await user.everything()
    time.turn(seconds=60)
    text = (
        f'{{ "candidates": [{{"features": {{"side": 0, "size": 1}}, "id": "a"}}],\n "id": "x", "defer": false,'
        f' "context": {{"mood": 1}}, "loop": "plain", "user_id": "{user.id}"}}'
    )
    for again in (await user.send("plain", "x"), await user.client.post("/decisions", content=text)):
        assert (again.status_code, again.content) == (200, answer.content)
        assert again.headers["idempotent-replayed"] == "true"
    assert await user.everything() == before


async def test_a_key_is_an_id(user: User, time: Clock) -> None:
    """Idempotency-Key stands in for an id, also if it has characters that an id cannot have."""
    for key in ("k-1", "k/1"):
        body = {"user_id": user.id, "loop": "plain", **BODY}
        first, again = [await user.client.post("/decisions", json=body, headers={"Idempotency-Key": key}) for _ in "ab"]
        assert ("idempotent-replayed" in first.headers, again.headers["idempotent-replayed"]) == (False, "true")
        assert first.content == again.content
    assert await user.ask("HLEN", keys.decisions(user.id)) == 2


async def test_without_id_and_key_each_is_new(user: User, time: Clock) -> None:
    """The ids that are made sort by time."""
    found = []
    for _ in range(3):
        found.append(await user.decide("plain"))
        time.turn(seconds=0.001)
    assert found == sorted(set(found))


async def test_the_same_id_with_another_body(user: User, time: Clock) -> None:
    """422, also if only the loop or what is excluded differs; nothing changes."""
    await user.decide("plain", "x")
    before = await user.everything()
    changes: list[tuple[str, dict[str, Any]]] = [
        ("plain", {"context": {"mood": 0}}),
        ("plain", {"candidates": [{"id": "b"}]}),
        ("plain", {"defer": True}),
        ("plain", {"user": {"age": 1}}),
        ("strict", {}),
    ]
    for loop, change in changes:
        assert is_(await user.send(loop, "x", **change), 422)
    assert await user.everything() == before


async def test_the_same_id_after_the_record_has_gone(user: User, time: Clock) -> None:
    """A new decision, with a new window; up to then it is the old one."""
    await user.decide("plain", "x")
    time.turn(seconds=WINDOW_SECONDS + GRACE_SECONDS - 0.001)
    assert (await user.send("plain", "x")).headers["idempotent-replayed"] == "true"
    time.turn(seconds=0.001)
    assert is_(await user.send("plain", "x"), 200, deadline="2027-01-15T10:10:00Z", status="open")
    assert await user.ask("HLEN", keys.decisions(user.id)) == 1


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"candidates": [{"id": "a"}, {"id": "a"}]}, "same id"),
        ({"candidates": []}, "candidates"),
        ({"exclude": ["b"]}, "exclude"),
        ({"exclude": ["a"]}, "no candidate is left"),
        ({"id": "a.b"}, "id"),
        ({"id": ""}, "id"),
        ({"loop": "other"}, "loop"),
        ({"user": {"x": "y" * 5_000}}, "bytes"),
        ({"user_id": ""}, "user_id"),
    ],
)
async def test_what_cannot_be_decided(user: User, time: Clock, change: dict[str, Any], word: str) -> None:
    """422 that says why, and nothing is kept."""
    answer = await user.client.post("/decisions", json={"user_id": user.id, "loop": "plain", **BODY, **change})
    assert is_(answer, 422)
    assert word in answer.json()["detail"]
    assert await user.ask("EXISTS", keys.shared(user.id), keys.decisions(user.id), keys.agenda(user.id)) == 0


async def test_a_loop_may_refuse_unknown_features(user: User, time: Clock) -> None:
    """Elsewhere they are kept and teach nothing."""
    assert is_(await user.send("strict", user={"sise": 1}), 422)
    assert is_(await user.send("plain", user={"sise": 1}), 200)


async def test_excluded_candidates_keep_their_place(user: User, time: Clock) -> None:
    """With propensity 0; each policy's propensities are those of all candidates."""
    candidates = [{"id": name, "features": {"size": 1}} for name in "abc"]
    whole = await user.decide("plain", candidates=candidates, exclude=["b"])
    found = (await user.client.get(f"/decisions/{whole}")).json()
    shares = [each["propensity"] for each in found["candidates"]]
    assert (shares[1], found["candidate_id"] != "b") == (0.0, True)
    assert sum(shares) == pytest.approx(1.0)
    assert found["by_policy"].keys() == {"serves", "watches", "fades"}
    assert found["by_policy"]["serves"] == shares
    assert all(len(each) == 3 and each[1] == 0.0 for each in found["by_policy"].values())


# The reward


async def test_a_reward_in_the_window(user: User, time: Clock) -> None:
    """All policies learn it, each its own columns, from the record."""
    whole = await user.decide("plain")
    time.turn(seconds=WINDOW_SECONDS - 0.001)
    answer = await user.tell("POST", whole, 3)
    assert is_(answer, 200, decision_id=whole, outcome="applied", status="rewarded", reward=3.0, n=1)
    assert answer.json().keys().isdisjoint({"late", "skipped"})
    assert answer.json()["rewarded_at"] == "2027-01-15T08:59:59Z"
    await user.has_learned(3.0)


async def test_the_first_value_again(user: User, time: Clock) -> None:
    """Any replica, any number of times, also after a PUT, after a DELETE and after the deadline."""
    whole = await user.decide("plain")
    await user.tell("POST", whole, 3)
    async with replica(user.url, user.directory) as other:

        async def repeated(reward: float | None, n: int, status: str) -> None:
            before = await user.everything()
            for client in (user.client, other, other):
                answer = await user.at(client).tell("POST", whole, 3)
                assert is_(answer, 200, outcome="duplicate", reward=reward, n=n, status=status)
                assert answer.headers["idempotent-replayed"] == "true"
            assert await user.everything() == before

        await repeated(3.0, 1, "rewarded")
        assert is_(await user.at(other).tell("PUT", whole, 5), 200, outcome="corrected", n=2)
        await repeated(5.0, 2, "rewarded")
        assert is_(await user.tell("DELETE", whole), 200, outcome="retracted", n=3, reward=None)
        await repeated(None, 3, "retracted")
        time.turn(seconds=WINDOW_SECONDS)
        await repeated(None, 3, "retracted")
    await user.has_learned()


async def test_another_value(user: User, time: Clock) -> None:
    """409 with what is recorded; PUT corrects it, and its columns are counted once."""
    whole = await user.decide("plain")
    await user.tell("POST", whole, 3)
    before = await user.everything()
    answer = await user.tell("POST", whole, 4)
    assert is_(answer, 409, status="rewarded", recorded=3.0)
    assert "PUT" in answer.json()["detail"]
    assert await user.everything() == before
    assert is_(await user.tell("PUT", whole, 4), 200, outcome="corrected", n=2, reward=4.0, status="rewarded")
    await user.has_learned(4.0)
    assert is_(await user.tell("POST", whole, 4), 409, recorded=4.0)


async def test_what_stands_is_told_again(user: User, time: Clock) -> None:
    """PUT of the standing value, DELETE of a retracted one, cancel of a cancelled one, activate again: 200, and nothing
    changes."""
    one, two, three = [await user.decide("plain", name) for name in "abc"]
    four = await user.decide("plain", "d", defer=True)
    await user.tell("POST", one, 3)
    await user.tell("POST", two, 3)
    await user.tell("DELETE", two)
    await user.post(three, "cancel")
    await user.post(four, "activate")
    before = await user.everything()
    assert is_(await user.tell("PUT", one, 3), 200, outcome="duplicate", status="rewarded", n=1)
    assert is_(await user.tell("PUT", one, 3, if_n=0), 200, outcome="duplicate", n=1)
    assert is_(await user.tell("DELETE", two), 200, outcome="duplicate", status="retracted", n=2)
    assert is_(await user.post(three, "cancel"), 200, outcome="duplicate", status="cancelled")
    assert is_(await user.post(four, "activate"), 200, outcome="duplicate", status="open")
    assert await user.everything() == before
    await user.has_learned(3.0)


async def test_after_a_delete(user: User, time: Clock) -> None:
    """POST of a new value: 409. No default is booked any more. PUT: learned anew."""
    whole = await user.decide("books")
    await user.tell("POST", whole, 3)
    await user.tell("DELETE", whole)
    assert is_(await user.tell("POST", whole, 4), 409, status="retracted", recorded=None)
    time.turn(seconds=WINDOW_SECONDS)
    assert await user.status(whole) == "retracted"
    await user.decide("books")
    await user.has_learned()
    assert is_(await user.tell("PUT", whole, 4), 200, outcome="corrected", status="rewarded", n=3, reward=4.0)
    await user.has_learned(4.0)


async def test_only_if_the_last_outcome_was_that(user: User, time: Clock) -> None:
    """PUT and DELETE with `if_n`: 409 unless it is the last outcome's n."""
    whole = await user.decide("plain")
    await user.tell("POST", whole, 3)
    assert is_(await user.tell("PUT", whole, 4, if_n=0), 409, recorded=3.0)
    assert is_(await user.tell("DELETE", whole, if_n=2), 409, recorded=3.0)
    assert is_(await user.tell("PUT", whole, 4, if_n=1), 200, n=2)
    assert is_(await user.tell("DELETE", whole, if_n=2), 200, n=3)
    for odd in ("x", "-1", "1.5"):
        assert is_(await user.tell("DELETE", whole, if_n=odd), 422)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999", '"much"', "null", "9", "-8.5"])
async def test_a_reward_that_is_none(user: User, time: Clock, value: str) -> None:
    """Not finite, no number, out of the loop's range: 422, and nothing changes."""
    whole = await user.decide("plain")
    before = await user.everything()
    for method in ("POST", "PUT"):
        path = f"/decisions/{whole}/reward"
        assert is_(await user.client.request(method, path, content=f'{{"reward": {value}}}'), 422)
    text = f'{{"rewards": [{{"decision_id": "{whole}", "reward": {value}}}]}}'
    batch = await user.client.post("/rewards/batch", content=text)
    assert batch.status_code == 422 or batch.json()["results"][0]["error"]["status"] == 422
    assert await user.everything() == before


async def test_no_reward_to_change(user: User, time: Clock) -> None:
    """PUT or DELETE of what has none: 409; of a deferred one too."""
    for whole in (await user.decide("plain"), await user.decide("plain", defer=True)):
        before = await user.everything()
        assert is_(await user.tell("PUT", whole, 3), 409, recorded=None)
        assert is_(await user.tell("DELETE", whole), 409, recorded=None)
        assert await user.everything() == before


# Sums


async def test_parts_of_a_sum(user: User, time: Clock) -> None:
    """The columns are counted once, the rewards add up; the same part again is a duplicate, another value is not."""
    whole = await user.decide("sums")
    assert is_(await user.tell("POST", whole, 2, part="click"), 200, outcome="applied", n=1, reward=2.0)
    assert is_(await user.tell("POST", whole, 3, part="buy"), 200, outcome="applied", n=2, reward=5.0)
    await user.has_learned(5.0)
    before = await user.everything()
    assert is_(await user.tell("POST", whole, 3, part="buy"), 200, outcome="duplicate", n=2, reward=5.0)
    assert is_(await user.tell("POST", whole, 1, part="buy"), 409, recorded=5.0)
    assert is_(await user.tell("PUT", whole, 3, part="buy"), 200, outcome="duplicate")
    assert is_(await user.tell("PUT", whole, 1, part="other"), 409, recorded=5.0)
    assert is_(await user.tell("DELETE", whole, part="other"), 409, recorded=5.0)
    assert await user.everything() == before
    assert is_(await user.tell("PUT", whole, 1, part="buy"), 200, outcome="corrected", n=3, reward=3.0)
    await user.has_learned(3.0)


async def test_a_sum_needs_parts_and_others_take_none(user: User, time: Clock) -> None:
    """In every verb: 422, and nothing changes."""
    summed, plain = await user.decide("sums"), await user.decide("plain")
    await user.tell("POST", summed, 2, part="click")
    await user.tell("POST", plain, 2)
    before = await user.everything()
    for method in ("POST", "PUT", "DELETE"):
        assert is_(await user.tell(method, summed, 1), 422)
        assert is_(await user.tell(method, plain, 1, part="click"), 422)
        for odd in ("two words", "x" * 129, "\u00fc"):
            assert is_(await user.tell(method, summed, 1, part=odd), 422)
    assert await user.everything() == before


async def test_a_part_that_comes_again_late(user: User, time: Clock) -> None:
    """The first value of a part is a duplicate after a PUT and after a DELETE too: else it would be counted again."""
    whole = await user.decide("sums")
    await user.tell("POST", whole, 2, part="click")
    await user.tell("POST", whole, 3, part="buy")
    await user.tell("PUT", whole, 4, part="buy")
    assert is_(await user.tell("POST", whole, 3, part="buy"), 200, outcome="duplicate", reward=6.0)
    assert is_(await user.tell("DELETE", whole, part="buy"), 200, outcome="retracted", status="rewarded", reward=2.0)
    await user.has_learned(2.0)
    assert is_(await user.tell("POST", whole, 3, part="buy"), 200, outcome="duplicate", reward=2.0)
    assert is_(await user.tell("DELETE", whole, part="buy"), 200, outcome="duplicate", reward=2.0)
    assert is_(
        await user.tell("DELETE", whole, part="click"), 200, outcome="retracted", status="retracted", reward=None
    )
    await user.has_learned()
    assert is_(await user.tell("POST", whole, 2, part="click"), 200, outcome="duplicate", reward=None)
    assert is_(await user.tell("POST", whole, 1, part="click"), 409)
    assert is_(await user.tell("PUT", whole, 1, part="click"), 200, outcome="corrected", status="rewarded", reward=1.0)
    await user.has_learned(1.0)


async def test_a_sum_stays_in_range(user: User, time: Clock) -> None:
    """422 for a part, a correction or a retraction by which the sum would leave the loop's range."""
    whole = await user.decide("sums")
    await user.tell("POST", whole, 8, part="a")
    await user.tell("POST", whole, -8, part="b")
    await user.tell("POST", whole, -8, part="c")
    before = await user.everything()
    assert is_(await user.tell("POST", whole, -1, part="d"), 422)
    assert is_(await user.tell("PUT", whole, 7, part="a"), 422)
    assert is_(await user.tell("DELETE", whole, part="a"), 422)
    assert await user.everything() == before
    await user.has_learned(-8.0)


async def test_a_sum_has_at_most_64_parts(user: User, time: Clock) -> None:
    """Those that were taken back count: else they could come again."""
    whole = await user.decide("sums")
    rewards = [{"decision_id": whole, "reward": 0, "part": str(part)} for part in range(64)]
    answer = await user.client.post("/rewards/batch", json={"rewards": rewards})
    assert [each["n"] for each in answer.json()["results"]] == list(range(1, 65))
    await user.tell("DELETE", whole, part="3")
    assert is_(await user.tell("POST", whole, 0, part="64"), 422)
    assert is_(await user.tell("PUT", whole, 1, part="5"), 200, outcome="corrected")


async def test_a_default_of_a_sum(user: User, time: Clock) -> None:
    """Parts that come after it was booked replace it, by POST or PUT."""
    for method in ("POST", "PUT"):
        whole = await user.decide("sums-books")
        time.turn(seconds=WINDOW_SECONDS)
        assert is_(await user.tell(method, whole, 3, part="a"), 200, outcome="corrected", late=True, reward=3.0)
    await user.has_learned(3.0, 3.0)


# The deadline


async def test_a_booked_default_is_corrected(user: User, time: Clock) -> None:
    """From the deadline on the default is what was learned; a late reward takes its place."""
    whole = await user.decide("books")
    time.turn(seconds=WINDOW_SECONDS - 0.001)
    await user.post(whole, "activate")
    assert await user.status(whole) == "open"
    time.turn(seconds=0.001)
    before = await user.everything()
    assert await user.status(whole) == "defaulted"
    assert await user.everything() == before, "looking books nothing"
    assert is_(await user.post(whole, "activate"), 200, status="defaulted", reward=-2.0, n=1)
    await user.has_learned(-2.0)
    assert is_(await user.tell("POST", whole, 3), 200, outcome="corrected", late=True, n=2, reward=3.0)
    await user.has_learned(3.0)
    assert is_(await user.tell("POST", whole, 3), 200, outcome="duplicate", n=2)


async def test_any_decision_books_what_is_due(user: User, time: Clock) -> None:
    """The defaults of older decisions are learned before the next one is made, and its policies know it."""
    await user.decide("books")
    time.turn(seconds=WINDOW_SECONDS)
    answer = await user.send("plain")
    await user.has_learned(-2.0)
    assert answer.json()["score"] < 0.0


@pytest.mark.parametrize("path", ["/score", "/reward"])
async def test_the_first_system_s_requests_book_what_is_due(user: User, time: Clock, path: str) -> None:
    """Whatever changes a user settles first; of a user without decisions it keeps nothing but the model."""
    body = (bodies.score if path == "/score" else bodies.reward)(user.id)
    for _ in range(2):
        assert is_(await user.client.post(path, json=body), 200)
    assert await user.ask("EXISTS", keys.shared(user.id)) == 0
    whole = await user.decide("books")
    time.turn(seconds=WINDOW_SECONDS)
    assert is_(await user.client.post(path, json=body, headers={"Idempotency-Key": "k"}), 200)
    await user.has_learned(-2.0)
    before = await user.everything()
    await user.client.get(f"/decisions/{whole}")
    assert await user.everything() == before
    assert await user.status(whole) == "defaulted"


async def test_a_booked_default_is_final(user: User, time: Clock) -> None:
    """In a loop that discards late rewards: 200 `late`, again and again, and nothing changes; the deadline is the first
    moment that is late."""
    whole = await user.decide("books-strict")
    time.turn(seconds=WINDOW_SECONDS)
    await user.post(whole, "activate")
    before = await user.everything()
    for method, reward in (("POST", 3), ("POST", 3), ("POST", 4), ("PUT", 3)):
        assert is_(await user.tell(method, whole, reward), 200, outcome="late", status="defaulted", reward=-2.0, n=1)
    assert await user.everything() == before
    await user.has_learned(-2.0)


async def test_late_without_a_default(user: User, time: Clock) -> None:
    """200 `applied` and `late`, learned; or discarded."""
    kept, discarded = await user.decide("plain"), await user.decide("strict")
    time.turn(seconds=WINDOW_SECONDS)
    assert is_(await user.tell("POST", kept, 3), 200, outcome="applied", late=True, reward=3.0, n=1)
    assert is_(await user.tell("POST", discarded, 3), 200, outcome="late", status="open", reward=None, n=0)
    await user.has_learned(3.0)


async def test_put_and_delete_of_a_booked_default(user: User, time: Clock) -> None:
    """PUT is a late reward; DELETE is refused: there is no reward to take back."""
    whole = await user.decide("books")
    time.turn(seconds=WINDOW_SECONDS)
    assert is_(await user.tell("DELETE", whole), 409, status="defaulted", recorded=-2.0)
    await user.has_learned(-2.0)
    assert is_(await user.tell("PUT", whole, 3), 200, outcome="corrected", late=True, reward=3.0, n=2)
    await user.has_learned(3.0)
    assert is_(await user.tell("POST", whole, 3), 200, outcome="duplicate")
    assert is_(await user.tell("DELETE", whole), 200, outcome="retracted")
    await user.has_learned()


async def test_a_record_that_has_gone(user: User, time: Clock) -> None:
    """After window and grace: 404, and 410 once the id itself says that it is too old for any loop. Its default was
    booked all the same."""
    told, made = await user.decide("books", "x"), await user.decide("books")
    time.turn(seconds=WINDOW_SECONDS + GRACE_SECONDS - 0.001)
    assert await user.status(made) == "defaulted"
    for seconds, code in ((0.001, 404), (LONGEST_SECONDS - WINDOW_SECONDS - 0.001, 404), (0.001, 410)):
        time.turn(seconds=seconds)
        for method in ("POST", "PUT", "DELETE"):
            assert is_(await user.tell(method, told, 3), 404, **UNKNOWN)
            assert is_(await user.tell(method, made, 3), code)
        assert is_(await user.client.get(f"/decisions/{made}"), code)
        assert is_(await user.post(made, "cancel"), code)
    await user.has_learned(-2.0, -2.0)
    assert await user.ask("EXISTS", keys.decisions(user.id)) == 0
    assert await user.ask("ZCARD", keys.agenda(user.id)) == 0
    assert await user.ask("HMGET", keys.shared(user.id), "open", "records") == [b"0", b"0"]


async def test_ids_of_nothing(user: User, time: Clock) -> None:
    """Unknown, another user's and malformed ids get one answer, on every route."""
    whole = await user.decide("plain", "x")
    local, owner = whole.split(".")
    other = decision_id("x", "somebody else")
    odd = [
        "x",
        "x.",
        f".{owner}",
        f"{local}.{owner}=",
        f"x.{owner}.{owner}",
        "x.%%%",
        f"x.{owner}A",
        f"{'y' * 129}.{owner}",
    ]
    before = await user.everything()
    for each in (decision_id("z", user.id), other, *odd):
        quoted = each.replace("%", "%25")
        assert is_(await user.client.get(f"/decisions/{quoted}"), 404, **UNKNOWN)
        for method in ("POST", "PUT", "DELETE"):
            assert is_(await user.tell(method, quoted, 1), 404, **UNKNOWN)
        for end in ("activate", "cancel"):
            assert is_(await user.post(quoted, end), 404, **UNKNOWN)
        [failed] = (
            await user.client.post("/rewards/batch", json={"rewards": [{"decision_id": each, "reward": 1}]})
        ).json()["results"]
        assert failed == {"error": {"status": 404, **UNKNOWN}}
    assert await user.everything() == before


async def test_many_due_at_once(user: User, time: Clock) -> None:
    """More than are settled together: each one's default is booked once, in its turn or when it is asked for."""
    wholes = [await user.decide("books", f"x{place}") for place in range(40)]
    time.turn(seconds=WINDOW_SECONDS)
    last = wholes[-1]
    assert await user.status(last) == "defaulted"
    assert is_(await user.tell("POST", last, 3), 200, outcome="corrected", late=True, reward=3.0)
    await user.has_learned(*[-2.0] * 32, 3.0)
    await user.post(wholes[0], "activate")
    await user.has_learned(*[-2.0] * 39, 3.0)
    time.turn(seconds=GRACE_SECONDS)
    assert is_(await user.tell("POST", last, 3), 404)
    assert is_(await user.tell("POST", last, 3), 404)
    assert await user.ask("HLEN", keys.decisions(user.id)) == 0
    await user.has_learned(*[-2.0] * 39, 3.0)


# Deferred, cancelled


async def test_deferred(user: User, time: Clock) -> None:
    """A reward before the activation is held, learned at the activation."""
    whole = await user.decide("books", defer=True)
    assert await user.status(whole) == "deferred"
    assert is_(await user.tell("POST", whole, 3), 200, outcome="held", status="deferred", reward=3.0, n=1)
    assert is_(await user.tell("POST", whole, 3), 200, outcome="duplicate", reward=3.0, n=1)
    assert is_(await user.tell("POST", whole, 4), 409, recorded=3.0)
    await user.has_learned()
    assert is_(await user.tell("PUT", whole, 5), 200, outcome="held", reward=5.0, n=2)
    assert is_(await user.post(whole, "activate"), 200, outcome="activated", status="rewarded", reward=5.0, n=3)
    await user.has_learned(5.0)
    assert is_(await user.tell("POST", whole, 3), 200, outcome="duplicate", reward=5.0)


async def test_deferred_and_taken_back(user: User, time: Clock) -> None:
    """A held reward that is taken back is not learned, nor is a default; PUT holds one again."""
    whole, other = await user.decide("books", "a", defer=True), await user.decide("books", "b", defer=True)
    for each in (whole, other):
        await user.tell("POST", each, 3)
        assert is_(await user.tell("DELETE", each), 200, outcome="retracted", status="deferred", reward=None, n=2)
        assert is_(await user.tell("DELETE", each), 200, outcome="duplicate", n=2)
        assert is_(await user.tell("POST", each, 3), 200, outcome="duplicate", reward=None)
    assert is_(await user.post(whole, "activate"), 200, outcome="activated", status="retracted")
    assert is_(await user.tell("PUT", other, 4), 200, outcome="held", reward=4.0)
    await user.post(other, "activate")
    time.turn(seconds=WINDOW_SECONDS)
    await user.decide("books")
    await user.has_learned(4.0)


async def test_a_deferred_sum(user: User, time: Clock) -> None:
    """Its parts are held together, and each can be taken back."""
    whole = await user.decide("sums", defer=True)
    assert is_(await user.tell("POST", whole, 2, part="a"), 200, outcome="held", reward=2.0)
    assert is_(await user.tell("POST", whole, 3, part="b"), 200, outcome="held", reward=5.0)
    assert is_(await user.tell("DELETE", whole, part="a"), 200, outcome="retracted", reward=3.0, status="deferred")
    await user.post(whole, "activate")
    await user.has_learned(3.0)
    assert is_(await user.tell("POST", whole, 1, part="c"), 200, outcome="applied", reward=4.0)
    await user.has_learned(4.0)


async def test_never_shown(user: User, time: Clock) -> None:
    """At the deadline a deferred decision is void, and a held reward with it: no default, and nothing can be told."""
    whole = await user.decide("books", defer=True)
    await user.tell("POST", whole, 3)
    time.turn(seconds=WINDOW_SECONDS)
    before = await user.everything()
    found = (await user.client.get(f"/decisions/{whole}")).json()
    assert (found["status"], found["reward"]) == ("void", None)
    assert await user.everything() == before
    assert is_(await user.post(whole, "activate"), 409, status="void", recorded=None)
    assert is_(await user.tell("POST", whole, 4), 409)
    assert is_(await user.tell("PUT", whole, 4), 409)
    assert is_(await user.tell("DELETE", whole), 409)
    assert is_(await user.post(whole, "cancel"), 200, status="void")
    await user.has_learned()
    assert await user.ask("HMGET", keys.shared(user.id), "open", "records") == [b"0", b"1"]


async def test_shown_in_time(user: User, time: Clock) -> None:
    """An activated decision has its default at the deadline that it had from its beginning."""
    whole = await user.decide("books", defer=True)
    time.turn(seconds=WINDOW_SECONDS - 0.001)
    assert is_(await user.post(whole, "activate"), 200, outcome="activated", status="open", n=0)
    time.turn(seconds=0.001)
    assert await user.status(whole) == "defaulted"


async def test_cancelled(user: User, time: Clock) -> None:
    """It teaches nothing, now or at its deadline, and refuses all that comes; a held reward is dropped."""
    shown, deferred = await user.decide("books"), await user.decide("books", defer=True)
    await user.tell("POST", deferred, 3)
    for whole, n in ((shown, 1), (deferred, 2)):
        assert is_(await user.post(whole, "cancel"), 200, outcome="cancelled", status="cancelled", reward=None, n=n)
        assert is_(await user.post(whole, "activate"), 409, status="cancelled", recorded=None)
        assert is_(await user.tell("POST", whole, 4), 409, status="cancelled")
        assert is_(await user.tell("PUT", whole, 4), 409, status="cancelled")
        assert is_(await user.tell("DELETE", whole), 409, status="cancelled")
    time.turn(seconds=WINDOW_SECONDS)
    assert await user.status(shown) == "cancelled"
    await user.decide("books")
    await user.has_learned()


async def test_too_late_to_cancel(user: User, time: Clock) -> None:
    """After a reward, taken back or not, or a booked default: 409, and nothing changes."""
    rewarded, taken, defaulted = [await user.decide("books", name) for name in "abc"]
    await user.tell("POST", rewarded, 3)
    await user.tell("POST", taken, 3)
    await user.tell("DELETE", taken)
    time.turn(seconds=WINDOW_SECONDS)
    await user.post(defaulted, "activate")
    before = await user.everything()
    assert is_(await user.post(rewarded, "cancel"), 409, status="rewarded", recorded=3.0)
    assert is_(await user.post(taken, "cancel"), 409, status="retracted", recorded=None)
    assert is_(await user.post(defaulted, "cancel"), 409, status="defaulted", recorded=-2.0)
    assert await user.everything() == before


# Bounds, other files, other users


async def test_too_many_open(user: User, time: Clock) -> None:
    """The oldest one makes room, and its outcome is still taken: it is early, never late."""
    one, two, three = [await user.decide("small", name) for name in "abc"]
    assert await user.ask("HMGET", keys.shared(user.id), "open", "records") == [b"2", b"3"]
    for whole in (one, two, three):
        answer = await user.tell("POST", whole, 3)
        assert is_(answer, 200, outcome="applied", status="rewarded")
        assert "late" not in answer.json()
    assert await user.ask("HMGET", keys.shared(user.id), "open", "records") == [b"0", b"3"]
    await user.has_learned(3.0, 3.0, 3.0)


@pytest.mark.parametrize("loop", ["small-books", "small-books-strict"])
async def test_too_many_open_with_a_default(user: User, time: Clock, loop: str) -> None:
    """The oldest one's default is booked early; a reward within its window corrects it and is not late."""
    one, _, _ = [await user.decide(loop, name) for name in "abc"]
    await user.has_learned(-2.0)
    found = (await user.client.get(f"/decisions/{one}")).json()
    assert (found["status"], found["rewarded_at"]) == ("defaulted", "2027-01-15T08:00:00Z")
    answer = await user.tell("POST", one, 3)
    assert is_(answer, 200, outcome="corrected", reward=3.0)
    assert "late" not in answer.json()
    await user.has_learned(3.0)


async def test_too_many_deferred(user: User, time: Clock) -> None:
    """They count as open ones; one that made room can still be activated."""
    one, _, _ = [await user.decide("small", name, defer=True) for name in "abc"]
    assert await user.ask("HMGET", keys.shared(user.id), "open", "records") == [b"2", b"3"]
    assert is_(await user.post(one, "activate"), 200, status="open")
    assert is_(await user.tell("POST", one, 3), 200, outcome="applied")


async def test_too_many_records(user: User, time: Clock) -> None:
    """Four for each that may be open; the oldest settled ones go first, and open ones stay."""
    first = await user.decide("small", "open")
    told = []
    for place in range(12):
        told.append(await user.decide("small", f"x{place}"))
        assert is_(await user.tell("POST", told[-1], 1), 200, outcome="applied")
        time.turn(seconds=0.001)
    assert await user.ask("HLEN", keys.decisions(user.id)) == 8
    assert await user.ask("ZCARD", keys.agenda(user.id)) == 8
    assert await user.ask("HMGET", keys.shared(user.id), "open", "records") == [b"1", b"8"]
    answers = [(await user.tell("POST", whole, 1)).status_code for whole in told]
    assert answers == [404] * 5 + [200] * 7
    assert is_(await user.tell("POST", first, 1), 200, outcome="applied")
    await user.has_learned(*[1.0] * 13)


async def test_two_loops_of_one_user(user: User, time: Clock) -> None:
    """They share ids and models, and each has its own rules."""
    plain, books = await user.decide("plain", "a"), await user.decide("books", "b")
    assert is_(await user.send("books", "a"), 422)
    time.turn(seconds=WINDOW_SECONDS)
    assert is_(await user.tell("POST", plain, 3), 200, outcome="applied")
    await user.has_learned(-2.0, 3.0)
    assert await user.status(books) == "defaulted"


async def test_a_policy_that_was_removed(user: User, time: Clock) -> None:
    """The others learn, and the answer names it; where the loop is gone too, its rewards are still learned."""
    whole, old = await user.decide("plain", "a"), await user.decide("books", "b")
    without = POLICIES.replace('shadows = ["watches", "fades"]', "").replace("[loops.books]", "[loops.other]")
    start, end = without.index("[policies.watches]"), without.index("[policies.fades]")
    async with replica(user.url, user.directory, without[:start] + without[end:]) as newer:
        there = user.at(newer)
        answer = await there.tell("POST", whole, 3)
        assert is_(answer, 200, outcome="applied", skipped=["watches"])
        assert is_(await there.tell("PUT", whole, 4), 200, outcome="corrected", reward=4.0)
        assert is_(await there.tell("POST", old, 2), 200, outcome="applied", skipped=["watches"])
        assert is_(await there.send("books"), 422)
    serves, watches = [await user.ask("HGET", keys.record(user.id, name), "b") for name in ("serves", "watches")]
    assert np.array_equal(np.frombuffer(serves), 6.0 * COLUMNS["serves"])
    assert watches is None


async def test_a_loop_that_has_changed(user: User, time: Clock) -> None:
    """A decision keeps the terms under which it was made: range, default, what is late, and how rewards add up."""
    plain, books, sums = [await user.decide(loop, "x" + loop) for loop in ("plain", "books", "sums")]
    other = POLICIES.replace("min = -8, max = 8", "min = -1, max = 1").replace("default_reward = -2.0", "")
    other = other.replace('aggregation = "sum"', 'aggregation = "first"').replace('"correct"', '"discard"')
    async with replica(user.url, user.directory, other) as newer:
        there = user.at(newer)
        assert is_(await there.tell("POST", plain, 3), 200, outcome="applied")
        assert is_(await there.tell("POST", sums, 4, part="p"), 200, outcome="applied")
        time.turn(seconds=WINDOW_SECONDS)
        assert is_(await there.send("plain", "new"), 200)
        assert await there.status(books) == "defaulted"
        assert is_(await there.tell("POST", books, 2), 200, outcome="corrected", late=True)
    await user.has_learned(3.0, 4.0, 2.0)


@pytest.mark.parametrize(("method", "path"), [("POST", "/reset"), ("DELETE", "/users")])
async def test_a_user_erased_or_reset(user: User, time: Clock, method: str, path: str) -> None:
    """Decisions go too: later rewards are answered 404, an id that comes again is a new decision."""
    whole = await user.decide("books", "x")
    assert (await user.client.request(method, f"{path}/{user.id}")).status_code == 200
    assert is_(await user.tell("POST", whole, 3), 404, **UNKNOWN)
    time.turn(seconds=WINDOW_SECONDS)
    await user.decide("plain", "x")
    await user.has_learned()
    assert await user.ask("HMGET", keys.shared(user.id), "open", "records") == [b"1", b"1"]


async def test_time_never_runs_back(user: User, time: Clock) -> None:
    """Where Redis's clock jumps back, the user's time stands: what was booked stays booked, deadlines do not move."""
    whole = await user.decide("books", "x")
    time.turn(seconds=WINDOW_SECONDS)
    await user.post(whole, "activate")
    time.turn(seconds=-WINDOW_SECONDS)
    assert is_(await user.send("plain", "y"), 200, deadline="2027-01-15T10:00:00Z")
    assert is_(await user.tell("POST", whole, 3), 200, outcome="corrected", late=True)


async def test_several_at_once(user: User, time: Clock) -> None:
    """Each on its own, in order: what fails says why, and the others are made."""
    asked = [{"user_id": user.id, "loop": loop, "id": local, **BODY} for loop, local in (("plain", "a"), ("none", "b"))]
    found = (await user.client.post("/decisions/batch", json={"decisions": [*asked, asked[0]]})).json()["results"]
    assert (found[0], found[1]["error"]["status"]) == (found[2], 422)
    whole = found[0]["decision_id"]
    rewards = [{"decision_id": whole, "reward": reward} for reward in (3, 4, 3)]
    done = (await user.client.post("/rewards/batch", json={"rewards": rewards})).json()["results"]
    assert (done[0]["outcome"], done[1]["error"]["status"], done[2]["outcome"]) == ("applied", 409, "duplicate")
    await user.has_learned(3.0)
    for path, body in (("/decisions/batch", {"decisions": []}), ("/rewards/batch", {"rewards": rewards * 34})):
        assert is_(await user.client.post(path, json=body), 422)


# Large loops


async def records(user: User) -> dict[str, int]:
    """How many decisions are in which hash of the user, by the last part of its key."""
    names = [keys.decisions(user.id), *parts.every(keys.decisions(user.id))]
    found = {keys.kind_of(name): await user.ask("HLEN", name) for name in names}
    return {kind: count for kind, count in found.items() if count}


async def test_decisions_of_a_large_loop(user: User, time: Clock) -> None:
    """They are spread over many hashes, and all else is as with others, also beside some of another loop."""
    large = [await user.decide("large-books", f"x{number}") for number in range(4)]
    unnamed = await user.decide("large-books")
    plain = await user.decide("plain", "x9")
    kept = await records(user)
    assert (kept.pop("d"), sum(kept.values()), len(kept) > 1) == (1, 5, True)
    assert (await user.send("large-books", "x0")).headers["idempotent-replayed"] == "true"
    assert is_(await user.send("plain", "x0"), 422)
    assert is_(await user.tell("POST", large[0], 3), 200, outcome="applied")
    assert is_(await user.tell("POST", unnamed, 4), 200, outcome="applied")
    assert is_(await user.tell("POST", plain, 5), 200, outcome="applied")
    assert is_(await user.post(large[1], "cancel"), 200, status="cancelled")
    answer = (await user.client.get(f"/users/{user.id}")).json()
    assert {each["decision_id"] for each in answer["open"]} == {large[2], large[3]}
    await user.has_learned(3.0, 4.0, 5.0)
    time.turn(seconds=WINDOW_SECONDS)
    assert await user.status(large[2]) == "defaulted"
    await user.post(large[3], "activate")
    await user.has_learned(3.0, 4.0, 5.0, -2.0, -2.0)
    time.turn(seconds=GRACE_SECONDS)
    await user.post(plain, "activate")
    assert await records(user) == {}
    assert await user.ask("HMGET", keys.shared(user.id), "open", "records", "bytes") == [b"0"] * 3


async def test_a_loop_that_becomes_large(user: User, time: Clock) -> None:
    """What was kept before is found where it is; and what is spread is found by a file without large loops."""
    old = await user.decide("plain", "old")
    grown = POLICIES.replace("open_max = 64", "open_max = 5000")
    async with replica(user.url, user.directory, grown) as newer:
        there = user.at(newer)
        assert (await there.send("plain", "old")).headers["idempotent-replayed"] == "true"
        assert is_(await there.tell("POST", old, 3), 200, outcome="applied")
        new = await there.decide("plain", "new")
    assert (await records(user))["d"] == 1
    async with replica(user.url, user.directory, POLICIES.replace("open_max = 2000", "open_max = 64")) as small:
        here = user.at(small)
        assert is_(await here.tell("POST", new, 4), 200, outcome="applied")
        assert (await here.send("plain", "new")).headers["idempotent-replayed"] == "true"
        await here.decide("plain", "last")
    assert (await records(user))["d"] == 2
    await user.has_learned(3.0, 4.0)


@pytest.mark.parametrize(("method", "path"), [("POST", "/reset"), ("DELETE", "/users")])
async def test_a_large_user_erased_or_reset(user: User, time: Clock, method: str, path: str) -> None:
    """All parts go with the others."""
    made = [await user.decide("large", f"x{number}") for number in range(3)]
    answer = await user.client.request(method, f"{path}/{user.id}")
    assert answer.status_code == 200, answer.text
    assert await records(user) == {}
    assert is_(await user.tell("POST", made[0], 3), 404, **UNKNOWN)
    await user.decide("plain", "x0")
    assert await records(user) == {"d": 1}


async def test_the_bounds_of_a_large_loop(user: User, time: Clock) -> None:
    """Twice as many decisions as another loop may have bytes for, none of which makes room."""
    body = {"user_id": user.id, "loop": "large", **BODY}
    async with asyncio.TaskGroup() as group:
        for start in range(0, 1_200, 100):
            batch = [body | {"id": f"x{number}"} for number in range(start, start + 100)]
            group.create_task(user.client.post("/decisions/batch", json={"decisions": batch}))
    assert await user.ask("HMGET", keys.shared(user.id), "open", "records") == [b"1200"] * 2
    assert len((await user.client.get(f"/users/{user.id}")).json()["open"]) == 1_000
