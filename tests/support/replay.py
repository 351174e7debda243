"""Replay a recorded conversation against a running service and say where the answers differ.

    .venv/bin/python -m tests.support.replay http://127.0.0.1:8000 [conversation.jsonl.gz ...]

A conversation was recorded from the system this service replaces; tests/data/README.md describes the files. The
service draws its own exploration, so an epsilon-greedy answer may be any candidate with that candidate's own score,
and the history and the exploration rate are compared with what the service itself answered before. Whether its
exploration is fair is judged over all conversations at the end.
"""

import gzip
import http.client
import json
import re
import sys
import uuid
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np

__all__ = ["CONVERSATIONS", "Pick", "Replay", "differences", "load", "main", "over_http", "two_sided"]

CONVERSATIONS = sorted((Path(__file__).parent.parent / "data").glob("conversation-*.jsonl.gz"))
# A fair service fails one of the judgements on exploration about once in 20,000,000 replays.
SIGNIFICANCE = 1e-9
TIME = re.compile(r"\d{4}-(0\d|1[0-2])-([0-2]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\dZ")
POLICIES = {"/score": "linucb-v1", "/score/egreedy": "egreedy-v1", "/score/egreedy/v2": "egreedy-v2"}

Json = Any
Send = Callable[[str, str, bytes | None], tuple[int, Json]]


def load(path: Path) -> tuple[dict[str, Json], list[dict[str, Json]]]:
    """The header and the steps of one recorded conversation."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        header, *steps = map(json.loads, lines)
    return header, steps


@contextmanager
def over_http(url: str) -> Iterator[Send]:
    """Send steps to the service at `url` over one connection; an answer that is not JSON comes back as its text."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(f"{url!r} is not like http://127.0.0.1:8000")
    connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=60)

    def send(method: str, path: str, content: bytes | None) -> tuple[int, Json]:
        connection.request(method, path, content, {"content-type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return answer.status, text.decode(errors="replace")

    try:
        yield send
    finally:
        connection.close()


def same_number(expected: float, got: Json) -> bool:
    return (
        isinstance(got, int | float)
        and not isinstance(got, bool)
        and abs(got - expected) <= max(1e-9 * max(abs(got), abs(expected)), 1e-12)
    )


def differences(expected: Json, got: Json, at: str = "") -> Iterable[str]:
    """Where `got` lacks something `expected` has or differs from it; what it has besides is no difference."""
    if at.endswith((".ts", ".last_updated")) and isinstance(expected, str):
        if not (isinstance(got, str) and TIME.fullmatch(got)):
            yield f"{at}: {got!r} is not a time like {expected}"
    elif isinstance(expected, dict) and isinstance(got, dict):
        for key, value in expected.items():
            if key in got:
                yield from differences(value, got[key], f"{at}.{key}")
            else:
                yield f"{at}.{key}: missing"
    elif isinstance(expected, list) and isinstance(got, list):
        if len(expected) != len(got):
            yield f"{at}: {len(got)} items instead of {len(expected)}"
        for index, (one, other) in enumerate(zip(expected, got, strict=False)):
            yield from differences(one, other, f"{at}[{index}]")
    elif isinstance(expected, int | float) and not isinstance(expected, bool):
        if not same_number(expected, got):
            yield f"{at}: {got!r} instead of {expected!r}"
    elif type(expected) is not type(got) or expected != got:
        yield f"{at}: {got!r} instead of {expected!r}"


def two_sided(probabilities: Iterable[float], count: int) -> float:
    """How probable it is that independent events of these probabilities happen `count` times or as improbably.

    Exact (Poisson-binomial), by convolution: no bound on how few events there may be.
    """
    law = np.ones(1)
    for p in probabilities:
        law = np.convolve(law, (1 - p, p))
    return float(law[law <= law[count] * (1 + 1e-9)].sum())


@dataclass
class Pick:
    """One epsilon-greedy decision: which of how many positions, whether it explored, which ones are best."""

    position: int
    of: int
    exploring: bool
    best: list[int]


@dataclass
class Memory:
    """What the service has answered about one user since the last reset."""

    history: deque[Json]
    pulls: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    explored: dict[str, int] = field(default_factory=lambda: defaultdict(int))


@dataclass
class Replay:
    """Compares conversations with the answers of one service; `mismatches` names every difference found."""

    send: Send
    mismatches: list[str] = field(default_factory=list)
    picks: list[Pick] = field(default_factory=list)
    steps: int = 0
    epsilon: float = 0.0

    def run(self, path: Path) -> None:
        """Replay one conversation with users of its own, so that a store in use does not disturb it."""
        header, steps = load(path)
        self.epsilon = header["epsilon"]
        prefix = f"{uuid.uuid4().hex[:12]}-"
        known = {user: Memory(deque(maxlen=header["history"])) for user in header["users"]}
        for step in steps:
            self.steps += 1
            for difference in self.step(step, known, prefix):
                request = step["request"]
                self.mismatches.append(
                    f"{path.name}, step {step['step']}, {request['method']} {request['path']} "
                    f"of {request['user']!r}: {difference}"
                )

    def step(self, step: dict[str, Json], known: dict[str, Memory], prefix: str) -> Iterable[str]:
        request, recorded = step["request"], step["response"]
        user = request["user"]
        path = request["path"].replace("{user}", quote(prefix + user, safe=""))
        body = request.get("body")
        if isinstance(body, dict) and isinstance(body.get("user_id"), str) and body["user_id"] in known:
            body = body | {"user_id": prefix + body["user_id"]}
        content = None
        if "raw" in request:
            content = request["raw"].encode()
        elif "body" in request:
            content = json.dumps(body).encode()
        status, answer = self.send(request["method"], path, content)
        if status != step["status"]:
            yield f"status {status} instead of {step['status']}: {answer!r}"
            return
        if not step["valid"]:
            if not (isinstance(answer, dict) and "detail" in answer):
                yield f"no detail in {answer!r}"
            return
        if not isinstance(answer, dict):
            yield f"no JSON object: {answer!r}"
            return
        memory = known[user]
        if "choice" in step:
            yield from self.score(step, answer, memory, prefix)
        elif request["path"].startswith("/features/"):
            expected = {"user_id": prefix + user, "history": list(memory.history)}
            yield from differences(expected, answer)
        else:
            expected = dict(recorded)
            if "user_id" in expected:
                expected["user_id"] = prefix + user
            if "exploration_rate" in expected:
                policy = expected["policy"]
                pulls = memory.pulls[policy]
                expected["exploration_rate"] = memory.explored[policy] / pulls if pulls else 0.0
            yield from differences(expected, answer)
            if request["path"].startswith("/reset/"):
                known[user] = Memory(deque(maxlen=memory.history.maxlen))

    def score(self, step: dict[str, Json], answer: Json, memory: Memory, prefix: str) -> Iterable[str]:
        """Compare one decision with its candidates, and remember what the history must say of it."""
        request, choice = step["request"], step["choice"]
        policy = POLICIES[request["path"]]
        yield from differences({"policy": policy}, answer)
        positions = [
            position
            for position, (tip, score) in enumerate(zip(choice["ids"], choice["scores"], strict=True))
            if tip == answer.get("tip_id") and same_number(score, answer.get("score"))
        ]
        if not positions:
            yield f"no candidate {answer.get('tip_id')!r} with a score of {answer.get('score')!r}"
            return
        entries = [self.entry(request["body"], position, answer) for position in positions]
        said: Json = {}
        if policy != "linucb-v1" or len(positions) > 1:
            said = self.last(prefix + request["user"])
        # Candidates may share an id and a score: the history says which of them it was, if anything does.
        likely = [index for index, entry in enumerate(entries) if not list(differences(entry, said))] or [0]
        position, entry = positions[likely[0]], entries[likely[0]]
        exploring = False
        if policy != "linucb-v1":
            exploring = said.get("features", {}).get("exploring")
            if not isinstance(exploring, bool):
                yield f"the history does not say whether it explored: {said!r}"
                exploring = False
            day = (request["body"].get("context") or {}).get("day_of_week", 0)
            entry["features"] |= {"day_of_week": day, "exploring": exploring}
            entry["policy"] = policy
            self.picks.append(Pick(position, len(choice["ids"]), exploring, choice["best"]))
        memory.history.append(entry)
        memory.pulls[policy] += 1
        memory.explored[policy] += exploring
        if not exploring and not set(positions) & set(choice["best"]):
            yield f"picked position {position} instead of one of {choice['best']}"

    def entry(self, body: Json, position: int, answer: Json) -> dict[str, Json]:
        """What every policy writes to the history after picking the candidate at `position`."""
        features = body["candidates"][position].get("features") or {}
        return {
            "ts": "2026-01-01T00:00:00Z",
            "features": {
                "hour_of_day": (body.get("context") or {}).get("hour_of_day", 12),
                "is_overdue": features.get("is_overdue", False),
                "task_age_days": features.get("task_age_days", 0.0),
                "priority": features.get("priority", 1),
            },
            "score": answer["score"],
            "tip_id": answer["tip_id"],
        }

    def last(self, user: str) -> dict[str, Json]:
        """The newest entry of a user's history; empty if there is none."""
        _, answer = self.send("GET", f"/features/{quote(user, safe='')}", None)
        history = answer.get("history") if isinstance(answer, dict) else None
        return history[-1] if history and isinstance(history[-1], dict) else {}

    def unfair(self) -> list[str]:
        """What is improbable about the exploration seen: how often, at which positions, how often at the best one."""
        explored = [pick for pick in self.picks if pick.exploring]
        found = []

        def judge(what: str, count: int, probabilities: list[float]) -> None:
            p = two_sided(probabilities, count)
            if p < SIGNIFICANCE:
                found.append(f"{what}: {count} where {sum(probabilities):.1f} are expected (p = {p:.1e})")

        judge("exploring picks", len(explored), [self.epsilon] * len(self.picks))
        judge(
            "exploring picks of a best candidate",
            sum(pick.position in pick.best for pick in explored),
            [len(pick.best) / pick.of for pick in explored],
        )
        for position in range(max((pick.of for pick in explored), default=0)):
            reach = [pick for pick in explored if pick.of > position]
            even = [1 / pick.of for pick in reach]
            judge(f"exploring picks of position {position}", sum(p.position == position for p in reach), even)
            judge(
                f"exploring picks of position {position} from the end",
                sum(p.of - 1 - p.position == position for p in reach),
                even,
            )
        return found


def main(words: list[str]) -> int:
    """Replay conversations against the service at a URL; the exit code says whether they fit."""
    if not words or words[0].startswith("-"):
        print(__doc__)
        return 2
    with over_http(words[0]) as send:
        replay = Replay(send)
        for path in map(Path, words[1:]) if words[1:] else CONVERSATIONS:
            replay.run(path)
    explored = sum(pick.exploring for pick in replay.picks)
    unfair = replay.unfair()
    for line in replay.mismatches[:50] + unfair:
        print(line)
    print(
        f"{replay.steps} steps, {len(replay.mismatches)} mismatches; {len(replay.picks)} epsilon-greedy decisions, "
        f"{explored} explored, {'fairly' if not unfair else 'unfairly'}"
    )
    return 1 if replay.mismatches or unfair else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
