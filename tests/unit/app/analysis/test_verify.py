"""Whether Redis holds what the log tells: who agrees, who differs, and of whom the log cannot tell."""

from pathlib import Path

import pytest

from app.analysis.verify import counts, verified
from app.decision_log.files import Files
from app.decision_log.lines import encode
from app.decisions.asked import Told
from state import keys
from state.values.decision import SHARED
from tests.support.decisions import clock
from tests.unit.app.decisions.scene import Twice, ask
from tests.unit.app.ledger.test_transact import COLUMNS, Scene
from tests.unit.state.wire import Wire

pytestmark = pytest.mark.anyio


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
        assert (await store.read(keys.shared("u"), SHARED))[-1] == b"0"
        await ask(store, "DEL", keys.shared("u"))
        await ask(store, "SET", keys.shared("u"), "x")
        assert await found() == ("u", "unknown", f"{keys.shared('u')}: holds a value of another type")
        assert counts(await verified(wire, tmp_path, print, 1.0)) == {"unknown": 1}
