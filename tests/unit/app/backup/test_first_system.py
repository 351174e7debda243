"""Files of the first system: what they hold, whose they are, and which are left out and why."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.backup.first_system import Ids, Unusable, files, read, read_ids
from app.policies.catalog import policies
from state.values import record


def model(d: int, **meta: object) -> dict[str, Any]:
    """A model as the first system wrote it."""
    counters = {"pulls": 3, "explore_count": 1, "cumulative_reward": 0.5, "reward_count": 1}
    last = {"last_updated": "2026-11-23T12:47:24Z"}
    return {"A": np.eye(d).tolist(), "b": [0.25] * d, "meta": {**counters, **last, **meta}}


def user_of(path: Path, ids: Ids | None) -> str:
    """The user a file is of, or why none."""
    path.write_text(json.dumps(model(5)))
    try:
        return read(path, policies(1.0, 0.1), ids).stored.user
    except Unusable as error:
        return str(error)


def test_ids_of_names(tmp_path: Path) -> None:
    """A list of true ids tells what a name stands for; what it leaves open is not guessed."""
    ids = read_ids(iter(["a:b\n", "a/c\r\n", "a c\n", "\n", "a_b_c\n", "odd\tü\n", "a:b\n"]))
    assert ids.problems == ["line 3: 'a c' and others have files of the same name, 'a_c'"]
    expected = {
        "a_b": "a:b",
        "a_b_c": "a_b_c",
        "odd": "ü",
        "ann": "ann",
        "a_c": "its name stands for several users",
        "a_d": "its name may stand for another user id, and the list has none for it",
    }
    assert {name: user_of(tmp_path / f"{name}.json", ids) for name in expected} == expected
    assert user_of(tmp_path / "a_c.json", None) == "a_c"
    assert user_of(tmp_path / f"{'x' * 200}.json", read_ids(iter([f"{'x' * 200}\t{'y' * 257}"]))) == "x" * 200
    twice = read_ids(iter(["one\tann", "two\tann", "three\tbea"]))
    assert twice.problems == ["line 2: 'ann' has files of two names, 'one' and 'two'"]
    assert user_of(tmp_path / "two.json", twice) == "its name stands for several users"
    assert user_of(tmp_path / "bea.json", twice) == "the list has another name for the user id that it would be"
    assert read_ids(iter(["y" * 257])).problems == ["line 1: a user id has 1 to 256 characters"]
    (tmp_path / "esc\x1b.json").write_text(json.dumps(model(5)))
    assert user_of(tmp_path / "esc\x1b.json", None) == "the file name is not a valid user id"


@pytest.mark.parametrize(
    ("name", "d", "policy", "user"),
    [
        ("ann.json", 5, "linucb-v1", "ann"),
        ("ann_egreedy.json", 7, "egreedy-v1", "ann"),
        ("ann_egreedy_v2.json", 12, "egreedy-v2", "ann"),
        ("ann_egreedy.json", 5, "linucb-v1", "ann_egreedy"),
    ],
)
def test_policy_of_a_file(name: str, d: int, policy: str, user: str, tmp_path: Path) -> None:
    """The number of features tells the policy; the name without that policy's ending tells the user."""
    (tmp_path / name).write_text(json.dumps(model(d)))
    imported = read(tmp_path / name, policies(), None)
    assert (imported.stored.kind, imported.stored.user) == (policy, user)
    assert (imported.note is not None) == (user == "ann_egreedy")


def test_numbers_are_kept(tmp_path: Path) -> None:
    """A, b and the counters are those of the file, the time in Unix seconds."""
    (tmp_path / "ann.json").write_text(json.dumps(model(5)))
    value = read(tmp_path / "ann.json", policies(), None).stored.value
    assert isinstance(value, dict)
    found = record.decode("k", 5, [value.get(name) for name in record.FIELDS])
    assert found is not None
    assert (found.a == np.eye(5)).all()
    assert (found.b == 0.25).all()
    assert found.meta == record.Meta(3, 1, 1, 0.5, 1_795_438_044, weight=None)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"b": [0.0] * 6}, "b has 6 numbers, which no policy has"),
        ({"b": [0.0] * 7}, "so its name should end in _egreedy.json"),
        ({"A": np.eye(4).tolist()}, "A is not 5 x 5"),
        ({"A": (0.999 * np.eye(5)).tolist()}, "A is less than the identity"),
        ({"meta": {"last_updated": "yesterday"}}, "last_updated is not a time"),
        ({"meta": {"last_updated": 1e300}}, "last_updated is not a time"),
    ],
)
def test_a_broken_file_is_left_out(changes: dict[str, object], reason: str, tmp_path: Path) -> None:
    """The reason says what is wrong."""
    (tmp_path / "ann.json").write_text(json.dumps({**model(5), **changes}))
    with pytest.raises(Unusable, match=reason):
        read(tmp_path / "ann.json", policies(), None)


def test_links_are_not_followed(tmp_path: Path) -> None:
    """Only names that end in .json are looked at, and only regular files are read."""
    (tmp_path / "notes.txt").write_text("{}")
    (tmp_path / "ann.json").symlink_to("notes.txt")
    (tmp_path / "folder.json").mkdir()
    assert sorted(path.name for path in files(tmp_path)) == ["ann.json", "folder.json"]
    for name, reason in (("ann.json", "is a link"), ("folder.json", "is not a regular file")):
        with pytest.raises(Unusable, match=reason):
            read(tmp_path / name, policies(), None)
