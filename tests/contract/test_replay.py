"""The recorded conversations, replayed over HTTP: the same answers on every store, and a comparison that can fail."""

import gzip
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.replay import CONVERSATIONS, Pick, Replay, differences, main, over_http, two_sided
from tests.support.service import service


def replay(conversations: list[Path], **env: str) -> Replay:
    """Conversations against a service with these settings."""
    with service({"STORE_TIMEOUT_SECONDS": "30", **env}) as server, over_http(server.url) as send:
        found = Replay(send)
        for path in conversations:
            found.run(path)
    return found


def test_recorded_conversations_are_answered_alike(store_url: str) -> None:
    """Every recorded answer comes again, from the embedded store and from Redis, and exploration is fair."""
    found = replay(CONVERSATIONS, REDIS_URL=store_url)
    assert found.mismatches == []
    assert found.unfair() == []
    assert found.steps == 3_000
    assert len(found.picks) == 976


def test_a_wider_confidence_bound_is_noticed() -> None:
    """The comparison sees an alpha that is a tenth too large, in the answers of LinUCB and nowhere else."""
    found = replay(CONVERSATIONS[:1], REDIS_URL="memory://", ALPHA="1.1")
    assert any("POST /score of" in line for line in found.mismatches)
    assert not any("egreedy" in line.split(" of ")[0] for line in found.mismatches)
    assert found.unfair() == []


def test_more_exploration_and_a_shorter_history_are_noticed() -> None:
    """The comparison sees that three times as many decisions explore, which no single answer betrays, and that full
    histories lack one decision of a hundred, in the answers that have the history and nowhere else."""
    # Twice as many explorations would look like chance about once in 600 replays.
    found = replay(CONVERSATIONS, REDIS_URL="memory://", EPSILON="0.3", FEATURE_HISTORY_SIZE="99")
    assert [line.split(":")[0] for line in found.unfair()] == ["exploring picks"]
    assert any(".history: 99 items instead of 100" in line for line in found.mismatches)
    assert all("GET /features/{user}" in line for line in found.mismatches)


def test_a_running_service_can_be_tried(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command line replays the conversations it is given and says with its exit code whether they fit."""
    with gzip.open(CONVERSATIONS[0], "rt") as lines:
        head = [next(lines) for _ in range(60)]
    right, wrong = tmp_path / "right.jsonl.gz", tmp_path / "wrong.jsonl.gz"
    right.write_bytes(gzip.compress("".join(head).encode()))
    wrong.write_bytes(gzip.compress("".join(head).replace('"ok": true', '"ok": false').encode()))
    with service({"STORE_TIMEOUT_SECONDS": "30"}) as server:
        assert main([server.url, str(right)]) == 0
        assert "59 steps, 0 mismatches" in capsys.readouterr().out
        assert main([server.url, str(wrong)]) == 1
        assert ".ok: True instead of False" in capsys.readouterr().out
    assert main([]) == 2
    assert "tests.support.replay http://" in capsys.readouterr().out


def picks(position: Callable[[random.Random, int, int], int]) -> list[Pick]:
    """1,000 decisions among 1 to 20 candidates of which one in ten explores, at the position that is given."""
    draw = random.Random(7)
    made = []
    for _ in range(1_000):
        of = draw.randint(1, 20)
        best = draw.randrange(of)
        exploring = draw.random() < 0.1
        made.append(Pick(position(draw, of, best) if exploring else best, of, exploring, [best]))
    return made


def judged(made: list[Pick]) -> list[str]:
    return Replay(lambda *_: (0, None), picks=made, epsilon=0.1).unfair()


def test_exploration_that_is_even_is_called_fair() -> None:
    """Uniform draws pass."""
    assert judged(picks(lambda draw, of, best: draw.randrange(of))) == []


@pytest.mark.parametrize(
    ("what", "position"),
    [
        ("position 0:", lambda draw, of, best: 0),
        ("position 0 from the end:", lambda draw, of, best: of - 1),
        ("a best candidate:", lambda draw, of, best: best),
        ("position 0:", lambda draw, of, best: min(draw.randrange(of), draw.randrange(of), draw.randrange(of))),
    ],
)
def test_exploration_that_is_uneven_is_noticed(what: str, position: Callable[[random.Random, int, int], int]) -> None:
    """Exploring that favours the first, the last or the best candidate does not pass."""
    assert any(what in line for line in judged(picks(position)))


def test_probability_of_a_count_is_exact() -> None:
    """Against the binomial law worked out by hand: 0 or 4 heads in 4 throws, and events that are certain."""
    assert two_sided([0.5] * 4, 0) == pytest.approx(2 / 16)
    assert two_sided([0.5] * 4, 2) == pytest.approx(1.0)
    assert two_sided([0.1, 1.0], 1) == pytest.approx(1.0)
    assert two_sided([0.1, 1.0], 0) == 0.0


@pytest.mark.parametrize(
    ("expected", "got", "count"),
    [
        ({"a": 1}, {"a": 1.0, "more": 2}, 0),
        ({"a": 1}, {}, 1),
        ({"a": 1}, None, 1),
        ([1.0, 2.0], [1.0], 1),
        (1.0, 1.0 + 1e-10, 0),
        (1.0, 1.0 + 1e-8, 1),
        (0.0, 1e-13, 0),
        (0.0, 1e-11, 1),
        (1, True, 1),
        (True, 1, 1),
        (None, 0, 1),
        ("1", 1, 1),
        ({"ts": "2026-11-23T08:59:50Z"}, {"ts": "2020-02-29T00:00:00Z"}, 0),
        ({"ts": "2026-11-23T08:59:50Z"}, {"ts": "2026-11-23 08:59:50"}, 1),
        ({"last_updated": "2026-11-23T08:59:50Z"}, {"last_updated": None}, 1),
        ({"last_updated": None}, {"last_updated": "2026-11-23T08:59:50Z"}, 1),
    ],
)
def test_what_counts_as_a_difference(expected: object, got: object, count: int) -> None:
    """A missing or different field does, a further one does not, and numbers have a tolerance."""
    assert len(list(differences(expected, got))) == count
