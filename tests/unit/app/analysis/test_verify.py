"""Whether Redis holds what the log tells: who agrees, who differs, and of whom the log cannot tell."""

from pathlib import Path

import msgspec
import pytest

from app.analysis.verify import counts, verified
from app.decision_log.files import Files
from app.decision_log.lines import Line, encode
from app.decisions.told import Told
from state import keys
from state.values import decision as held
from tests.support.decisions import clock
from tests.unit.app.decision_log.samples import decision, state
from tests.unit.app.decisions.scene import Twice, ask
from tests.unit.app.ledger.test_transact import COLUMNS, Scene
from tests.unit.state.wire import Wire

pytestmark = pytest.mark.anyio

EPOCH = "9f2c"


async def test_verdicts(tmp_path: Path) -> None:
    """It agrees after all changes; a changed model differs; what cannot be read, or was changed without the log, is
    not known."""
    wire = Wire()  # which answers as Redis does
    store = Twice(wire, timeout=60.0, history_size=10, marker_seconds=60)
    with clock() as time:
        scene = Scene(store, time, logs=True)
        whole = await scene.decide("plain")
        await scene.outcomes.reward(whole, Told(reward=0.5))
        lines = await scene.lines()
        scene.logs(False)
        files = Files(tmp_path)
        files.append(encode(line) for line in lines)
        files.close()
        for columns in COLUMNS.values():
            await store.shared.publish(columns)
        await store.shared.note_policies(["serves", "watches", "fades"])

        async def found() -> tuple[str, ...]:
            [one] = await verified(wire, tmp_path, print, 1.0)
            return one.user, one.what, *one.why

        assert await found() == ("u", "agrees")
        key = keys.record("u", "serves")
        [b] = await store.read(key, (b"b",))
        assert b is not None
        await ask(store, "HSET", key, "b", bytes(len(b)))
        assert await found() == ("u", "differs", "serves: b differ")
        await ask(store, "HSET", key, "b", b"damage")
        assert (await found())[:2] == ("u", "unknown")
        await ask(store, "HSET", key, "b", b)
        await scene.outcomes.correct(whole, Told(reward=1.0))
        assert await found() == ("u", "unknown", "it changed when there was no log")
        assert await store.read(keys.shared("u"), (b"logged",)) == [b"0"]
        await ask(store, "DEL", keys.shared("u"))
        await ask(store, "SET", keys.shared("u"), "x")
        assert await found() == ("u", "unknown", f"{keys.shared('u')}: holds a value of another type")
        assert counts(await verified(wire, tmp_path, print, 1.0)) == {"unknown": 1}


async def test_users(tmp_path: Path) -> None:
    """Each is looked at once, in groups: who is gone agrees after a reset only; whose changes are not all in the log,
    and whose key has another type, are not known."""
    wire = Wire()
    lines: list[Line] = [decision(1, user=f"user {number}") for number in range(70)]
    ends: list[Line] = [state(2, user="user 0", what="reset")]
    files = Files(tmp_path)
    files.append(encode(line) for line in (*lines, *ends))
    files.close()
    own = msgspec.structs.replace(held.User(EPOCH.encode()), seq=1)
    for user, logged in (("user 1", 0), ("user 2", 1)):
        fields = held.encode_user(msgspec.structs.replace(own, logged=logged))
        await wire.ask(("HSET", keys.shared(user), *(part for pair in fields.items() for part in pair)))
    await wire.ask(("SET", keys.record("user 3", "egreedy-v1"), "x"))
    found = {one.user: one for one in await verified(wire, tmp_path, pytest.fail, 1.0)}
    assert len(found) == 70
    assert found["user 0"].what == "agrees"
    assert found["user 1"].why == ("it changed when there was no log",)
    assert (found["user 2"].what, found["user 2"].why) == ("differs", ("egreedy-v1: Redis has no such model",))
    assert found["user 3"].why == (f"{keys.record('user 3', 'egreedy-v1')}: holds a value of another type",)
    assert found["user 4"].why == ("Redis has nothing of this user: expired, or lost",)
    assert counts(found.values()) == {"agrees": 1, "differs": 1, "unknown": 68}
