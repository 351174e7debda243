"""The commands for operators, on a real Redis while the service runs: import, export, restore, show, erase, key."""

import base64
import gzip
import io
import json
import math
import os
import pty
import signal
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pytest
from rich.console import Console

from app.commands.cli import run
from app.commands.show import picture
from app.policies.catalog import policies
from state import keys
from state.transfer import Page
from state.values.stored import Stored
from tests.support.bodies import POLICIES, candidate, contents, reward, score
from tests.support.processes import Server, free_port
from tests.support.redis_servers import RedisServer, redis_server, without_place
from tests.support.waiting import PATIENCE_SECONDS, until

ROOT = Path(__file__).parent.parent.parent
SUFFIXES = {"linucb-v1": "", "egreedy-v1": "_egreedy", "egreedy-v2": "_egreedy_v2"}
SIZES = {policy.id: policy.d for policy in policies(1.0, 0.1).values()}
Operate = Callable[..., tuple[int, str, str]]
# By default a command gives a connection to Redis one second, which a busy machine may not have.
PATIENT = {"STORE_TIMEOUT_SECONDS": str(PATIENCE_SECONDS)}


@pytest.fixture
def client(store: RedisServer, served: Server) -> Iterator[httpx.Client]:
    """A client of the service, whose Redis is empty."""
    store.command("FLUSHALL")
    # The service closes a connection after 5 s without a request; none may be sent in that very moment.
    limits = httpx.Limits(keepalive_expiry=1)
    with httpx.Client(base_url=served.url, timeout=PATIENCE_SECONDS, limits=limits) as client:
        yield client


@pytest.fixture
def operate(store: RedisServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Operate:
    """Does what a command line says, against the service's Redis or another; its exit code, stdout and stderr."""

    def operate(*words: object, url: str = store.url) -> tuple[int, str, str]:
        monkeypatch.setenv("REDIS_URL", url)
        for name, value in PATIENT.items():
            monkeypatch.setenv(name, value)
        code = run([str(word) for word in words])
        said = capsys.readouterr()
        return code, said.out, without_place(said.err, url) if "Redis: " in said.err else said.err

    return operate


def program(*words: object, url: str) -> subprocess.CompletedProcess[str]:
    """The same as a process of its own."""
    command = [sys.executable, "-m", "app", *map(str, words)]
    environ = {**os.environ, **PATIENT, "REDIS_URL": url}
    return subprocess.run(
        command,
        cwd=ROOT,
        env=environ,
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        stdin=subprocess.DEVNULL,
    )


def play(client: httpx.Client, user: str) -> None:
    """Some decisions and rewards under every policy, one of them with an Idempotency-Key."""
    for suffix in POLICIES.values():
        for number, value in enumerate((1.0, -0.5, 0.3)):
            assert client.post(f"/score{suffix}", json=score(user)).status_code == 200
            body = reward(user, value, priority=1 + number, hour_of_day=7 * number)
            headers = {"Idempotency-Key": "first/1"} if number == 0 else {}
            assert client.post(f"/reward{suffix}", json=body, headers=headers).status_code == 200


def statistics(client: httpx.Client, user: str) -> list[dict[str, Any]]:
    paths = [f"/stats{suffix}/{quote(user, safe='')}" for suffix in POLICIES.values()]
    return [client.get(path).raise_for_status().json() for path in paths]


def model(d: int, **meta: object) -> dict[str, Any]:
    """A model as the first system wrote it."""
    counters = {"pulls": 3, "explore_count": 1, "cumulative_reward": 0.5, "reward_count": 1}
    last = {"last_updated": "2026-11-23T12:47:24Z"}
    return {"A": np.eye(d).tolist(), "b": [0.25] * d, "meta": {**counters, **last, **meta}}


def save_as_first_system(store: RedisServer, directory: Path, user: str, name: str, times: list[str]) -> None:
    """Write what Redis has of a user as the first system's files."""
    with store.client() as redis:
        for (policy, suffix), updated in zip(SUFFIXES.items(), times, strict=True):
            fields = redis.hgetall(keys.record(user, policy))
            d = SIZES[policy]
            a, b = np.frombuffer(fields[b"A"]).reshape(d, d), np.frombuffer(fields[b"b"])
            counts, total = np.frombuffer(fields[b"meta"], "<u8"), np.frombuffer(fields[b"meta"], "<f8")[3]
            meta = {"pulls": int(counts[0]), "reward_count": int(counts[2]), "cumulative_reward": float(total)}
            if policy != "linucb-v1":
                meta["explore_count"] = int(counts[1])
            saved = {"A": a.tolist(), "b": b.tolist(), "meta": {**meta, "last_updated": updated}}
            (directory / f"{name}{suffix}.json").write_text(json.dumps(saved))


# Import


def test_import_keeps_statistics(client: httpx.Client, store: RedisServer, tmp_path: Path, operate: Operate) -> None:
    """Models of the first system give the same statistics over HTTP and the same bytes in Redis. A second import
    changes nothing, not even what was learned since; --overwrite does."""
    users = {"ann": "ann", "zoë/3": "zo__3", "b_c": "b_c"}
    for user, name in users.items():
        play(client, user)
        times = [answer["last_updated"] for answer in statistics(client, user)]
        save_as_first_system(store, tmp_path, user, name, times)
    before = {user: statistics(client, user) for user in users}
    models = {key: value for key, value in contents(store).items() if key.endswith((b"v1", b"v2"))}
    ids = tmp_path / "ids"
    ids.write_text("zoë/3\nb_c\n")
    store.command("FLUSHALL")

    code, out, err = operate("import", tmp_path, "--ids", ids)
    assert (code, out, err) == (0, "imported: 9 models; there already: 0; left out: 0\n", "")
    assert {user: statistics(client, user) for user in users} == before
    assert contents(store).keys() == models.keys()

    assert client.post("/reward", json=reward("ann")).status_code == 200
    learned = contents(store)
    code, out, _ = operate("import", tmp_path, "--ids", ids)
    assert (code, out) == (0, "imported: 0 models; there already: 9; left out: 0\n")
    assert contents(store) == learned
    code, out, _ = operate("import", tmp_path, "--ids", ids, "--overwrite")
    assert (code, out) == (0, "imported: 9 models; there already: 0; left out: 0\n")
    assert {user: statistics(client, user) for user in users} == before


def test_dry_run_changes_nothing(client: httpx.Client, store: RedisServer, tmp_path: Path, operate: Operate) -> None:
    """--dry-run says what would be done, also without a Redis, and does nothing."""
    (tmp_path / "ann.json").write_text(json.dumps(model(5)))
    (tmp_path / "ann_egreedy.json").write_text(json.dumps(model(7)))
    assert client.post("/score", json=score("ann")).status_code == 200
    before = contents(store)
    words = ("import", tmp_path, "--dry-run")
    assert operate(*words)[:2] == (0, "would be imported: 1 models; there already: 1; left out: 0\n")
    assert operate(*words, "--overwrite")[1] == "would be imported: 2 models; there already: 0; left out: 0\n"
    assert operate(*words, url="memory://")[1] == "would be imported: 2 models; there already: 0; left out: 0\n"
    assert contents(store) == before


BROKEN = {
    "": "truncated",
    "[]": "got `array`",
    '{"A": [[1.0]], "b": [1.0]}': "missing required field `meta`",
    json.dumps({**model(5), "b": [0.0] * 6}): "b has 6 numbers, which no policy has",
    json.dumps({**model(5), "b": [0.0] * 7}): "b has 7 numbers, so its name should end in _egreedy.json",
    json.dumps({**model(5), "A": np.eye(4).tolist()}): "A is not 5 x 5",
    json.dumps({**model(5), "A": [[1.0] * 5] * 4 + [[1.0]]}): "A is not 5 x 5",
    json.dumps({**model(5), "A": (-np.eye(5)).tolist()}): "A is less than the identity",
    json.dumps({**model(5), "A": (1e-300 * np.eye(5)).tolist()}): "A is less than the identity",
    json.dumps({**model(5), "A": (0.999 * np.eye(5)).tolist()}): "A is less than the identity",
    json.dumps({**model(5), "b": [1e300] * 5}): "A and b give a theta that is out of all proportion",
    json.dumps({**model(5), "A": np.triu(np.ones((5, 5))).tolist()}): "A is not symmetric",
    json.dumps({**model(5), "b": [float("nan")] * 5}): "invalid character",
    json.dumps(model(5)).replace("0.25", "1e999", 1): "out of range",
    json.dumps(model(5, pulls=-1)): "`$.meta.pulls`",
    json.dumps(model(5, pulls=1.5)): "`$.meta.pulls`",
    json.dumps(model(5, last_updated="yesterday")): "last_updated is not a time",
    json.dumps(model(5, last_updated=-1)): "last_updated is not a time",
    json.dumps(model(5, last_updated=1e300)): "last_updated is not a time",
}


def test_broken_files_are_left_out(client: httpx.Client, store: RedisServer, tmp_path: Path, operate: Operate) -> None:
    """A file that is no model is named with the reason and left out; the others are imported. The exit code tells."""
    for number, text in enumerate(BROKEN):
        (tmp_path / f"u{number}.json").write_text(text)
    (tmp_path / "good.json").write_text(json.dumps(model(5)))
    (tmp_path / "notes.txt").write_text("not one of the files")
    code, out, err = operate("import", tmp_path)
    assert (code, out) == (1, f"imported: 1 models; there already: 0; left out: {len(BROKEN)}\n")
    said = dict(line.split(": left out: ") for line in err.splitlines())
    for number, reason in enumerate(BROKEN.values()):
        assert reason in said[f"u{number}.json"]
    assert list(contents(store)) == [b"oo:{good}:linucb-v1"]


def test_rounding_is_no_damage(client: httpx.Client, tmp_path: Path, operate: Operate) -> None:
    """A model whose A was rounded is taken over and serves, however much it has learned."""
    x = np.linspace(0.1, 0.9, 5)
    a = np.eye(5) + 1e6 * np.outer(x, x)
    (tmp_path / "ann.json").write_text(json.dumps({**model(5), "A": a.round(7).tolist()}))
    assert operate("import", tmp_path)[0] == 0
    assert client.post("/score", json=score("ann")).status_code == 200


def test_what_is_no_file_is_left_out(client: httpx.Client, tmp_path: Path, operate: Operate) -> None:
    """Links, to whatever they lead, folders and pipes are named like files that are no model; no name does anything to
    a terminal."""
    directory = tmp_path / "state"
    directory.mkdir()
    (directory / "circle.json").symlink_to("circle.json")
    (directory / "dangling.json").symlink_to("nowhere")
    (directory / "folder.json").mkdir()
    os.mkfifo(directory / "pipe.json")
    (tmp_path / "elsewhere").write_text(json.dumps(model(5)))
    (directory / "link.json").symlink_to(tmp_path / "elsewhere")
    for name in (".json", "esc\x1b[2J.json"):
        (directory / name).write_text(json.dumps(model(5)))
    code, out, err = operate("import", directory)
    assert (code, out) == (1, "imported: 0 models; there already: 0; left out: 7\n")
    assert sorted(err.splitlines()) == [
        ".json: left out: the file name is not a valid user id",
        "circle.json: left out: is a link",
        "dangling.json: left out: is a link",
        "esc\\x1b[2J.json: left out: the file name is not a valid user id",
        "folder.json: left out: is not a regular file",
        "link.json: left out: is a link",
        "pipe.json: left out: is not a regular file",
    ]
    assert statistics(client, "link")[0]["pulls"] == 0


def test_a_wrong_directory(client: httpx.Client, tmp_path: Path, operate: Operate) -> None:
    """A directory without any file of the first system is most likely the wrong one: that is said and is a failure."""
    (tmp_path / "notes.txt").write_text("not one of the files")
    said = f"{tmp_path}: has no files of the first system: their names end in .json\n"
    for words in ((), ("--dry-run",)):
        code, out, err = operate("import", tmp_path, *words)
        assert (code, err) == (1, said)
        assert "imported: 0 models; there already: 0; left out: 0\n" in out


def test_ids_are_what_the_list_says(client: httpx.Client, tmp_path: Path, operate: Operate) -> None:
    """A user id of the list may have any characters, and the mark that some editors put before a file is none of it."""
    (tmp_path / "ann.json").write_text(json.dumps(model(5)))
    (tmp_path / "a_b.json").write_text(json.dumps(model(5)))
    ids = tmp_path / "ids"
    ids.write_text("ann\tänn\na_b\ta\u200bb\n", "utf-8-sig")
    assert operate("import", tmp_path, "--ids", ids) == (
        0,
        "imported: 2 models; there already: 0; left out: 0\n",
        "",
    )
    assert statistics(client, "änn")[0]["pulls"] == statistics(client, "a\u200bb")[0]["pulls"] == 3


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("2026-11-23T12:47:24Z", "2026-11-23T12:47:24Z"),
        ("2026-11-23T13:47:24.9+01:00", "2026-11-23T12:47:24Z"),
        ("2026-11-23T12:47:24", "2026-11-23T12:47:24Z"),
        (1_795_438_044, "2026-11-23T12:47:24Z"),
        (1_795_438_044.7, "2026-11-23T12:47:24Z"),
        (None, None),
        ("", None),
        ("absent", None),
    ],
)
def test_times_of_every_form(
    value: object, shown: str | None, client: httpx.Client, tmp_path: Path, operate: Operate
) -> None:
    """last_updated may be text, a number, null or not there at all, and so may the counter of explorations."""
    saved = model(5, last_updated=value)
    del saved["meta"]["explore_count"]
    if value == "absent":
        del saved["meta"]["last_updated"]
    (tmp_path / "ann.json").write_text(json.dumps(saved))
    assert operate("import", tmp_path)[0] == 0
    assert statistics(client, "ann")[0]["last_updated"] == shown


def test_a_name_that_may_be_two(client: httpx.Client, store: RedisServer, tmp_path: Path, operate: Operate) -> None:
    """x_egreedy.json with five features is LinUCB's of a user x_egreedy; that is said."""
    (tmp_path / "x_egreedy.json").write_text(json.dumps(model(5)))
    (tmp_path / "y_egreedy.json").write_text(json.dumps(model(7)))
    (tmp_path / "x_egreedy_egreedy_v2.json").write_text(json.dumps(model(12)))
    code, _, err = operate("import", tmp_path)
    assert (code, err) == (0, "x_egreedy.json: has five features, so it is linucb-v1 of a user 'x_egreedy'\n")
    assert list(contents(store)) == [b"oo:{x_egreedy}:egreedy-v2", b"oo:{x_egreedy}:linucb-v1", b"oo:{y}:egreedy-v1"]


def test_collisions_fail_the_import(client: httpx.Client, tmp_path: Path, operate: Operate) -> None:
    """Two true ids with the same file name: the file is left out, and the exit code says so."""
    directory = tmp_path / "state"
    directory.mkdir()
    (directory / "a_b.json").write_text(json.dumps(model(5)))
    ids = tmp_path / "ids"
    ids.write_text("a:b\na/b\n")
    code, out, err = operate("import", directory, "--ids", ids)
    assert (code, out) == (1, "imported: 0 models; there already: 0; left out: 1\n")
    assert err.splitlines() == [
        f"{ids}: line 2: 'a/b' and others have files of the same name, 'a_b'",
        "a_b.json: left out: its name stands for several users",
    ]
    ids.write_bytes(b"\xff\n")
    assert operate("import", directory, "--ids", ids) == (1, "", f"{ids}: is not UTF-8\n")


# Export and restore


def lasting(store: RedisServer) -> dict[bytes, bytes]:
    """What users have in Redis, less indexes, whose times depend on when they were written."""
    there = {key: value for key, value in contents(store).items() if key.startswith(b"oo:{")}
    return {key: value for key, value in there.items() if not key.endswith(b":once") and b"flight" not in key}


def test_export_and_restore(client: httpx.Client, store: RedisServer, tmp_path: Path, operate: Operate) -> None:
    """All that outlives versions comes back byte for byte, and idempotency keys are known for the rest of their time.
    The file is its owner's alone."""
    for user in ("ann", "zoë {3}"):
        play(client, user)
    store.command("HSET", keys.sync("ann"), "provider", "todo", "list", "Einkäufe")
    store.command("SET", "oo:flight:lane", "1|")
    store.command("SET", "oo:{ann}:flight:lane", "1|")
    file = tmp_path / "backup"
    code, out, err = operate("export", file)
    assert (code, err) == (0, "")
    counted = "2 egreedy-v1, 2 egreedy-v2, 2 history, 6 idempotency, 2 linucb-v1, 1 sync"
    assert out == f"exported: 2 users: {counted}; left out: 0 keys; {file} has {file.stat().st_size:,} bytes\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["backup"]

    before = lasting(store)
    seen = {
        user: (statistics(client, user), client.get(f"/features/{quote(user)}").text) for user in ("ann", "zoë {3}")
    }
    store.command("FLUSHALL")
    assert operate("restore", file) == (0, "restored: 2 users (15 keys); there already: 0; left out: 0\n", "")
    after = lasting(store)
    assert after.keys() == before.keys()
    assert {key: after[key] for key in after if not key.endswith((b"v1", b"v2"))} == {
        key: before[key] for key in after if not key.endswith((b"v1", b"v2"))
    }  # the order of a hash with large fields is the server's
    assert {user: (statistics(client, user), client.get(f"/features/{quote(user)}").text) for user in seen} == seen
    assert 86_000 < int(store.command("TTL", keys.marker("ann", "linucb-v1", "first/1"))) <= 86_400
    body = reward("ann", 1.0, priority=1, hour_of_day=0)
    assert client.post("/reward", json=body, headers={"Idempotency-Key": "first/1"}).headers["idempotent-replayed"]


def test_restore_takes_a_user_whole_or_not(
    client: httpx.Client, store: RedisServer, tmp_path: Path, operate: Operate
) -> None:
    """A user of whom any key is there is left alone, also where other keys are missing. --overwrite replaces all there
    is of a user, idempotency keys that came since included."""
    for user in ("ann", "bea", "cy"):
        play(client, user)
    assert operate("export", tmp_path / "f")[0] == 0
    exported = {user: statistics(client, user) for user in ("ann", "bea", "cy")}
    since = {"Idempotency-Key": "since"}
    assert client.post("/reward", json=reward("ann", 0.25), headers=since).status_code == 200
    later = statistics(client, "ann")
    assert store.command("DEL", keys.history("ann"), keys.marker("ann", "linucb-v1", "first/1")) == 2
    assert client.delete("/users/bea").status_code == 200
    store.command("SET", keys.marker("cy", "p", "only"), "1")
    assert client.post("/reset/cy").status_code == 200

    code, out, _ = operate("restore", tmp_path / "f")
    assert (code, out) == (0, "restored: 1 users (7 keys); there already: 2; left out: 0\n")
    assert statistics(client, "ann") == later
    assert store.command("EXISTS", keys.history("ann"), keys.marker("ann", "linucb-v1", "first/1")) == 0
    assert statistics(client, "bea") == exported["bea"]
    assert store.command("EXISTS", keys.record("cy", "linucb-v1"), keys.history("cy")) == 0

    code, out, _ = operate("restore", tmp_path / "f", "--overwrite")
    assert (code, out) == (0, "restored: 3 users (21 keys); there already: 0; left out: 0\n")
    assert {user: statistics(client, user) for user in exported} == exported
    assert store.command("EXISTS", keys.marker("ann", "linucb-v1", "since"), keys.marker("cy", "p", "only")) == 0
    answer = client.post("/reward", json=reward("ann", 0.25), headers=since)
    assert "idempotent-replayed" not in answer.headers


def lines(*rows: object) -> bytes:
    return gzip.compress(b"".join(json.dumps(row).encode() + b"\n" for row in rows))


def base64_of(array: Any) -> str:
    return base64.b64encode(np.asarray(array).tobytes()).decode()


def model_line(policy: str = "linucb-v1", **blobs: Any) -> dict[str, Any]:
    """A model as a backup has it, of which parts may be exchanged."""
    d = SIZES[policy]
    whole = {"A": np.eye(d), "b": np.zeros(d), "meta": np.zeros(5)} | blobs
    return {"kind": policy, "blobs": {name: base64_of(value) for name, value in whole.items()}}


HEADER = {"format": "oo-serving state", "version": 3, "service": "0.1.0", "exported_at": "2026-11-23T12:47:24Z"}
ENTRY = '[1795438044,"rent",1.5,9,true,3.0,4,"linucb-v1",null,null]'
HISTORY = {"kind": "history", "entries": [ENTRY]}
MARKER = {"kind": "linucb-v1:once:k", "text": "0123456789abcdef" * 2, "expires_in_ms": 60_000}
KEY = {"user": "ann", "keys": [HISTORY]}
FOOTER = {"keys": {"history": 1}, "users": 1}
NO_BACKUPS = {
    b"": "line 1: Input data was truncated",
    b"no gzip": "is damaged, or not a backup",
    lines(HEADER, KEY, FOOTER)[:-12]: "ends too early",
    lines(HEADER, KEY, FOOTER)[:40] + b"\0" * 40: "is damaged, or not a backup",
    lines(HEADER): "line 1: Input data was truncated",
    lines(HEADER, KEY): "line 2: Expected `object`, got `array` - at `$.keys`",
    lines(HEADER, KEY, KEY, FOOTER): "has 2 keys, and its last line counts 1",
    lines(HEADER, KEY, {**FOOTER, "users": 2}): "has 1 keys, and its last line counts 1",
    lines({**HEADER, "version": 5}, FOOTER): "is of version 5, and this service reads versions up to 4",
    lines({"format": HEADER["format"], "version": 5, "service": 1}, FOOTER): "is of version 5, and this service reads",
    lines({**HEADER, "format": "x"}, FOOTER): "line 1: Invalid enum value 'x' - at `$.format`",
    lines(HEADER, {**KEY, "user": ""}, FOOTER): "line 2: Expected `str` of length >= 1 - at `$.user`",
    lines(HEADER, {**KEY, "keys": [{**MARKER, "expires_in_ms": 2**63 - 1}]}, FOOTER): "line 2: Expected `int` <= 9007",
    lines(HEADER, "x" * 2**25, FOOTER): "line 2: is longer than 33,554,432 bytes",
}
# What serving would refuse, or what would never expire or never be found again.
REFUSED: dict[str, list[dict[str, Any]]] = {
    "there is no key of this user": [],
    "'history': does not have one value": [{"kind": "history", "entries": []}],
    "'sync': does not have one value": [{"kind": "sync"}],
    "a key comes twice": [HISTORY, HISTORY],
    "oo:{ann}:flight:1: this version does not know": [{"kind": "flight:1", "text": "1"}],
    "oo:{ann}:once: this version does not know": [{"kind": "once", "text": "1"}],
    "'oo:{ann}:a b': is not a key of a user": [{"kind": "a b", "text": "1"}],
    "oo:{ann}:sync: holds a value of another type": [{"kind": "sync", "entries": ["1"]}],
    "oo:{ann}:sync: has a field that is not UTF-8": [{"kind": "sync", "texts": {"a": {"base64": "/w=="}}}],
    "oo:{ann}:history: holds a value of another type": [{"kind": "history", "text": "1"}],
    "oo:{ann}:history: entry 0: Expected `array`": [{"kind": "history", "entries": ["{}"]}],
    "oo:{ann}:history: entry 1: Input data was truncated": [{"kind": "history", "entries": [ENTRY, ""]}],
    "oo:{ann}:history: has 10,001 entries": [{"kind": "history", "entries": [ENTRY] * 10_001}],
    "oo:{ann}:history: only an idempotency key expires": [{**HISTORY, "expires_in_ms": 1}],
    "oo:{ann}:linucb-v1: holds a value of another type": [{"kind": "linucb-v1", "entries": ["1"]}],
    "oo:{ann}:linucb-v1: field b, meta is missing": [{"kind": "linucb-v1", "blobs": {"A": "AA=="}}],
    "oo:{ann}:linucb-v1: has none of A, b and meta": [{"kind": "linucb-v1", "blobs": {"x": "AA=="}}],
    "oo:{ann}:linucb-v1: b has 56 bytes, not 40": [model_line(b=np.zeros(7))],
    "oo:{ann}:linucb-v1: has a number that is not finite": [model_line(b=[math.nan] * 5)],
    "oo:{ann}:egreedy-v2: has a number that is not finite": [model_line("egreedy-v2", A=np.full((12, 12), math.inf))],
    "oo:{ann}:linucb-v1: A is not symmetric": [model_line(A=np.eye(5) + np.eye(5, k=1))],
    "oo:{ann}:linucb-v1: A is less than the identity": [model_line(A=0.5 * np.eye(5))],
    "oo:{ann}:egreedy-v2: A is less than the identity": [model_line("egreedy-v2", A=np.eye(12) + 3 - 6 * np.eye(12))],
    "oo:{ann}:linucb-v1: A and b give a theta that is out": [model_line(b=[1e200] * 5)],
    "oo:{ann}:linucb-v1: meta: invalid cumulative_reward": [model_line(meta=[0, 0, 0, math.nan, 0])],
    "oo:{ann}:linucb-v1:once:k: does not expire": [{"kind": MARKER["kind"], "text": MARKER["text"]}],
    "oo:{ann}:linucb-v1:once:k: does not expire within": [{**MARKER, "expires_in_ms": 31_536_000_001}],
    "oo:{ann}:linucb-v1:once:k: does not hold the finger": [{**MARKER, "text": "1"}],
    "'oo:{ann}:other:once:k': is not an idempotency key": [{**MARKER, "kind": "other:once:k"}],
    "'oo:{ann}:linucb-v1:once:a/b': is not an idempotency": [{**MARKER, "kind": "linucb-v1:once:a/b"}],
    "'oo:{ann}:linucb-v1:once:k\\n': is not a key of a user": [{**MARKER, "kind": "linucb-v1:once:k\n"}],
    "oo:{ann}:linucb-v1:once:kkkkkkkk": [{**MARKER, "kind": "linucb-v1:once:" + "k" * 129}],
}


def counts_of(*users: list[dict[str, Any]]) -> dict[str, Any]:
    """The last line of a backup with these users."""
    kinds = Counter(("idempotency" if ":once:" in key["kind"] else key["kind"]) for keys_ in users for key in keys_)
    return {"keys": dict(kinds), "users": len(users)}


def test_no_backup_is_restored_in_part(
    client: httpx.Client, store: RedisServer, tmp_path: Path, operate: Operate
) -> None:
    """A file that is cut, damaged, of a later version or of something else is refused before anything is written."""
    file = tmp_path / "f"
    for content, reason in NO_BACKUPS.items():
        file.write_bytes(content)
        code, out, err = operate("restore", file)
        assert (code, out) == (1, "")
        assert err.startswith(f"{file}: {reason}")
        assert err.count("\n") == 1
    assert contents(store) == {}
    file.write_bytes(lines(HEADER, KEY, FOOTER))
    assert operate("restore", file)[1] == "restored: 1 users (1 keys); there already: 0; left out: 0\n"
    file.write_bytes(lines(HEADER, {"keys": {}, "users": 0}))
    assert operate("restore", file)[::2] == (1, f"{file}: has no users\n")


def test_what_serving_refuses_is_not_restored(
    client: httpx.Client, store: RedisServer, tmp_path: Path, operate: Operate
) -> None:
    """A user with a key that holds what the service never writes is named with line and reason, and nothing of that
    user changes, also with --overwrite; the others are restored."""
    good = [model_line(), HISTORY, MARKER]
    for reason, wrong in REFUSED.items():
        store.command("FLUSHALL")
        store.command("HSET", keys.sync("ann"), "a", "1")
        bad = [*wrong, model_line("egreedy-v1")] if len(wrong) == 1 else wrong
        rows = [{"user": "ann", "keys": bad}, {"user": "bea", "keys": good}]
        (tmp_path / "f").write_bytes(lines(HEADER, *rows, counts_of(bad, good)))
        code, out, err = operate("restore", tmp_path / "f", "--overwrite")
        assert (code, out) == (1, "restored: 1 users (3 keys); there already: 0; left out: 1\n")
        assert err.startswith("left out: line 2: "), err
        assert reason in err
        assert [key for key in contents(store) if b"ann" in key] == [b"oo:{ann}:sync"]
        assert statistics(client, "bea")[0]["theta"] == [0.0] * 5


def test_a_backup_of_version_1(client: httpx.Client, store: RedisServer, tmp_path: Path, operate: Operate) -> None:
    """A file of the version before, with its keys in no order and some twice, is restored user by user, with a warning;
    a user with a key that must not be is left out whole."""
    rows = [
        {"user": "bea", **HISTORY},
        {"user": "ann", **MARKER},
        {"user": "cy", **model_line()},
        {"user": "ann", **model_line(b=np.ones(5))},
        {"user": "cy", **MARKER, "text": "1"},
        {"user": "ann", **HISTORY},
        {"user": "ann", **HISTORY},
    ]
    counts = {"history": 3, "idempotency": 2, "linucb-v1": 2}
    file = tmp_path / "f"
    file.write_bytes(lines({**HEADER, "version": 1}, *rows, {"keys": counts}))
    code, out, err = operate("restore", file)
    assert (code, out) == (1, "restored: 2 users (4 keys); there already: 0; left out: 1\n")
    warning, refused = err.splitlines()
    assert warning.startswith(f"{file}: is of version 1, in which the keys of one user may be from different moments: ")
    assert refused == "left out: line 6: oo:{cy}:linucb-v1:once:k: does not hold the fingerprint of a reward"
    assert statistics(client, "ann")[0]["theta"] == [1.0] * 5
    assert store.command("LLEN", keys.history("ann")) == 1
    assert [key for key in contents(store) if b"{cy}" in key] == []
    assert store.command("ZRANGE", keys.index("ann"), 0, -1) == ["linucb-v1:once:k", ""]
    file.write_bytes(lines({**HEADER, "version": 1}, *rows, {"keys": {**counts, "history": 2}}))
    assert operate("restore", file)[2].endswith("has 7 keys, and its last line counts 6\n")


# Linux counts what the parent had before exec() into ru_maxrss, and that is all that these tests have used.
LARGEST = """
import re, resource, runpy, sys
from pathlib import Path
try:
    runpy.run_module("app", run_name="__main__")
finally:
    if sys.platform == "linux":
        print(int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024)
    else:
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024**2)
"""


def test_a_restore_s_memory_is_bounded(store: RedisServer, tmp_path: Path) -> None:
    """Sixteen users with the longest lines there may be are not all in memory at once, as a file of a few megabytes
    would have it."""
    large = {"kind": "sync", "texts": {"a": "x" * 30_000_000}}
    with gzip.open(tmp_path / "f", "wb", compresslevel=1) as file:
        file.write(json.dumps(HEADER).encode() + b"\n")
        for number in range(16):
            file.write(json.dumps({"user": f"u{number}", "keys": [large, {**MARKER, "text": "1"}]}).encode() + b"\n")
        file.write(json.dumps({"keys": {"sync": 16, "idempotency": 16}, "users": 16}).encode() + b"\n")
    done = subprocess.run(
        [sys.executable, "-c", LARGEST, "restore", str(tmp_path / "f")],
        cwd=ROOT,
        env={**os.environ, **PATIENT, "REDIS_URL": store.url},
        check=False,
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE_SECONDS,
    )
    said, megabytes = done.stdout.splitlines()
    assert said == "restored: 0 users (0 keys); there already: 0; left out: 16"
    assert int(megabytes) < 400


def test_odd_keys_are_left_out(client: httpx.Client, store: RedisServer, tmp_path: Path, operate: Operate) -> None:
    """What the service never writes is named and left out of an export with the reason, and the exit code says so. The
    idempotency keys of a model that is left out go with it: their rewards are lost and may be sent again."""
    play(client, "ann")
    play(client, "eve")
    store.command("SET", keys.history("bea"), "no list")
    store.command("SET", "oo:{be a}:sync", "not percent-encoded")
    store.command("HSET", keys.sync("cy"), b"\xff", "1")
    store.command("HSET", keys.record("di", "linucb-v1"), "A", "short")
    store.command("HSET", b"oo:{\xff}:sync", "a", "1")
    store.command("HSET", keys.record("eve", "linucb-v1"), "b", np.full(5, np.nan).tobytes())
    store.command("HSET", "oo:{eve}:linucb-v9", "a", "1")
    code, out, err = operate("export", tmp_path / "f")
    assert code == 1
    assert out.startswith("exported: 2 users: 2 egreedy-v1, 2 egreedy-v2, 2 history, 5 idempotency, 1 linucb-v1;")
    assert "; left out: 8 keys;" in out
    assert sorted(err.splitlines()) == [
        "oo:{be a}:sync: left out: it holds what this service never writes",
        "oo:{bea}:history: left out: it holds what this service never writes",
        "oo:{cy}:sync: left out: has a field that is not UTF-8",
        "oo:{di}:linucb-v1: left out: field b, meta is missing",
        "oo:{eve}:linucb-v1: left out: has a number that is not finite",
        "oo:{eve}:linucb-v1:once:first%2F1: left out, as its model is",
        "oo:{eve}:linucb-v9: left out: this version does not know what it is",
        "oo:{�}:sync: left out: it holds what this service never writes",
    ]
    store.command("FLUSHALL")
    assert operate("restore", tmp_path / "f")[0] == 0


def test_an_export_of_nothing(client: httpx.Client, tmp_path: Path, operate: Operate) -> None:
    """An empty Redis is most likely the wrong one: the file is written, and that is said and is a failure."""
    code, out, err = operate("export", tmp_path / "f")
    assert (code, err) == (1, "this Redis has no users: does REDIS_URL name the right one?\n")
    assert out.startswith("exported: 0 users: nothing; left out: 0 keys;")


@pytest.mark.parametrize(
    ("number", "background"), [(signal.SIGINT, False), (signal.SIGTERM, False), (signal.SIGTERM, True)]
)
def test_interrupted_export_leaves_nothing(
    number: signal.Signals, background: bool, store: RedisServer, tmp_path: Path
) -> None:
    """Ctrl-C or SIGTERM ends an export at once, with one line and without a file; what was there before stays. In the
    background of a script, where Ctrl-C is ignored, SIGTERM still does."""
    file = tmp_path / "f"
    file.write_text("the last one")
    with redis_server() as frozen:
        command = [sys.executable, "-m", "app", "export", str(file)]
        frozen.pause()
        ours = signal.signal(signal.SIGINT, signal.SIG_IGN if background else signal.default_int_handler)
        try:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **PATIENT, "REDIS_URL": frozen.url},
                stderr=subprocess.PIPE,
                text=True,
            )
        finally:
            signal.signal(signal.SIGINT, ours)
        try:
            until((tmp_path / "f.part").exists, "the export begun")
            process.send_signal(number)
            _, err = process.communicate(timeout=PATIENCE_SECONDS)
        finally:
            process.kill()
            frozen.resume()
    assert (process.returncode, without_place(err, frozen.url)) == (130, "stopped; run it again to complete it\n")
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    assert file.read_text() == "the last one"


SMALL_DISK = """
import resource, runpy
resource.setrlimit(resource.RLIMIT_FSIZE, (99, 99))
runpy.run_module("app", run_name="__main__")
"""


def test_a_full_disk_leaves_nothing(client: httpx.Client, store: RedisServer, tmp_path: Path) -> None:
    """An export that finds no room says so of its file, and takes what it wrote away."""
    play(client, "ann")
    done = subprocess.run(
        [sys.executable, "-c", SMALL_DISK, "export", str(tmp_path / "f")],
        cwd=ROOT,
        env={**os.environ, **PATIENT, "REDIS_URL": store.url},
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert (done.returncode, done.stdout, without_place(done.stderr, store.url)) == (
        1,
        "",
        f"{tmp_path / 'f'}: File too large\n",
    )
    assert list(tmp_path.iterdir()) == []


def test_export_takes_nothing_over(client: httpx.Client, tmp_path: Path, operate: Operate) -> None:
    """What is called `.part` already, a link or a file that others may read, is replaced and not written to."""
    play(client, "ann")
    other, part = tmp_path / "other", tmp_path / "f.part"
    other.write_text("another's")
    part.symlink_to(other)
    assert client.post("/score", json=score("ann")).status_code == 200
    assert operate("export", tmp_path / "f")[0] == 0
    assert other.read_text() == "another's"
    part.touch(0o644)
    assert operate("export", tmp_path / "f")[0] == 0
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f", "other"]


# One user


def test_show(client: httpx.Client, store: RedisServer, operate: Operate) -> None:
    """One user readably: counters, θ by name with a bar, the last decisions, the last synchronisation."""
    play(client, "ann")
    store.command("HSET", keys.sync("ann"), "provider", "todo\x1b[2J")
    code, out, _ = operate("show", "ann")
    assert code == 0
    theta = statistics(client, "ann")[0]["theta"]
    assert "linucb-v1\n  3 decisions, 3 rewards, +0.267 each, last 20" in out
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line.split()}
    assert rows["task_age"][1] == f"{statistics(client, 'ann')[2]['theta'][3]:+.4f}"
    assert f"{theta[0]:+.4f}" in out
    assert "█" in out
    assert "history: the last 9 of 9" in out
    assert "todo\\x1b[2J" in out
    assert "\x1b" not in out
    assert operate("show", "nobody")[:2] == (1, "nobody\nthere is nothing of this user\n")


def test_show_keeps_long_words(client: httpx.Client, store: RedisServer, operate: Operate) -> None:
    """The id of a tip is broken into lines at a terminal's edge, and whole where there is none."""
    tip = "0f3c2f3e-6d1b-4c0e-9d0a-2b7a5c1e8f44"
    body = score("ann")
    body["candidates"] = [candidate(tip)]
    assert client.post("/score/egreedy", json=body).status_code == 200
    store.command("HSET", keys.sync("ann"), "cursor", tip * 5)
    out = operate("show", "ann")[1]
    assert f" {tip} " in out
    assert tip * 5 in out
    entries = [entry.encode() for entry in store.command("LRANGE", keys.history("ann"), 0, -1)]
    screen = io.StringIO()
    Console(width=60, file=screen).print(picture("ann", Page([Stored("ann", keys.HISTORY, entries)], []), {})[0])
    shown = screen.getvalue()
    assert "…" not in shown
    assert tip in "".join(line[34:].split()[0] for line in shown.splitlines() if len(line) > 40)


def test_show_of_damage(client: httpx.Client, store: RedisServer, operate: Operate) -> None:
    """What cannot be read is named, the rest is shown, and the exit code is 1."""
    play(client, "ann")
    store.command("HSET", keys.record("ann", "egreedy-v1"), "b", "short")
    store.command("HSET", keys.record("ann", "egreedy-v2"), "A", b"\0" * 8 * 144)
    store.command("DEL", keys.history("ann"))
    store.command("SET", keys.history("ann"), "no list")
    code, out, _ = operate("show", "ann")
    assert code == 1
    assert "linucb-v1\n  3 decisions" in out
    for said in ("egreedy-v1: b has 5 bytes, not 56 (d = 7)", "egreedy-v2: Singular matrix", "history: holds a value"):
        assert said in out


@pytest.mark.parametrize("way", ["command", "route"])
def test_erase(
    way: str, client: httpx.Client, store: RedisServer, operate: Operate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything of a user goes, and what that was is said; others, however alike their ids, keep everything."""
    erased = "an*[n]?"
    for user in (erased, "ann", "an", "an*"):
        play(client, user)
    store.command("HSET", keys.sync(erased), "a", "1")
    store.command("SET", keys.marker(erased, "linucb-v1", "of an earlier version"), "1")
    before = contents(store)
    prefix = "oo:{an%2A%5Bn%5D%3F}:"
    names = sorted(key.decode() for key in before if key.startswith(prefix.encode()))
    assert len(names) == 10
    if way == "route":
        assert client.delete(f"/users/{quote(erased, safe='')}").json() == {"removed": names}
        assert client.delete(f"/users/{quote(erased, safe='')}").json() == {"removed": []}
    else:
        assert program("erase", erased, url=store.url).returncode == 2
        assert contents(store) == before
        assert operate("erase", erased, "--yes")[1] == "".join(f"{name}\n" for name in [*names, "removed: 10 keys"])
        assert operate("erase", erased, "--yes")[1] == "removed: 0 keys\n"
    kept = {key: value for key, value in before.items() if key.decode() not in names}
    assert {key: value for key, value in contents(store).items() if key != b"oo:indexed-since"} == kept
    assert statistics(client, erased)[0]["pulls"] == 0


def waits(pid: int) -> bool:
    return subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], check=True, stdout=subprocess.PIPE).stdout[:1] == b"S"


@pytest.mark.parametrize(("answer", "code"), [("\x04", 1), ("SIGINT", 130), ("SIGTERM", 130)])
def test_erase_takes_no_answer_for_no(answer: str, code: int, client: httpx.Client, store: RedisServer) -> None:
    """Ctrl-D or Ctrl-C, once, instead of an answer removes nothing, and says so."""
    play(client, "ann")
    before = contents(store)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "app", "erase", "ann"]
    environ = {**os.environ, **PATIENT, "REDIS_URL": store.url}
    with subprocess.Popen(
        command, cwd=ROOT, env=environ, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout
            question = "Remove all there is of 'ann'? [y/N] "
            assert process.stdout.read(len(question)) == question
            until(lambda: waits(process.pid), "it waits for the answer")
            if answer in signal.Signals.__members__:
                process.send_signal(signal.Signals[answer])
            else:
                os.write(ours, answer.encode())
            _, err = process.communicate(timeout=PATIENCE_SECONDS)
        finally:
            process.kill()
            os.close(ours)
            os.close(theirs)
    assert (process.returncode, err) == (code, "\nnothing was removed\n")
    assert contents(store) == before


# The command line


def test_failures_are_one_line(tmp_path: Path, operate: Operate) -> None:
    """Redis away, a file that is not there, a bad setting: one line each, and exit codes that tell them apart."""
    away = f"redis://127.0.0.1:{free_port()}/0"
    (tmp_path / "ann.json").write_text(json.dumps(model(5)))
    (tmp_path / "f").write_bytes(lines(HEADER, KEY, FOOTER))
    commands: list[list[Any]] = [
        ["export", tmp_path / "x"],
        ["restore", tmp_path / "f"],
        ["import", tmp_path],
        ["show", "ann"],
    ]
    for words in [*commands, ["erase", "ann", "--yes"], ["import", tmp_path, "--dry-run"]]:
        assert operate(*words, url=away) == (1, "", "Redis cannot be reached\n")
    gone = tmp_path / "gone"
    for words in [["restore", gone], ["import", gone], ["import", tmp_path, "--ids", gone]]:
        assert operate(*words) == (1, "", f"{gone}: No such file or directory\n")
    assert operate("export", gone / "f")[0] == 1
    code, _, err = operate("show", "ann", url="http://here")
    assert (code, err.count("\n")) == (2, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ann.json", "f"]


def test_as_a_program(client: httpx.Client, store: RedisServer) -> None:
    """`python -m app` with a command does it, and does not serve."""
    play(client, "ann")
    done = program("show", "ann", url=store.url)
    assert (done.returncode, done.stderr) == (0, f"Redis: one server at 127.0.0.1:{store.port}, database 0\n")
    assert "linucb-v1" in done.stdout
    assert program("--help", url="memory://").stdout.startswith("usage: python -m app")
