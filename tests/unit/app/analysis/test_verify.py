"""What Redis holds of each user of a log, fetched and compared."""

from pathlib import Path

import msgspec
import pytest

from app.analysis.verify import counts, verified
from app.decision_log.files import Files
from app.decision_log.lines import Line, encode
from state import keys
from state.values import decision as stored
from tests.unit.app.decision_log.samples import decision, state
from tests.unit.state.wire import Wire

pytestmark = pytest.mark.anyio
EPOCH = "9f2c"


async def test_users(tmp_path: Path) -> None:
    """Each is looked at, in groups: who is gone agrees after a reset only; whose changes are not all in the log, and
    whose key has another type, are not known."""
    wire = Wire()
    lines: list[Line] = [decision(1, user=f"user {number}") for number in range(70)]
    lines.append(state(2, user="user 0", what="reset"))
    files = Files(tmp_path)
    files.append(map(encode, lines))
    files.close()
    own = msgspec.structs.replace(stored.User(EPOCH.encode()), seq=1)
    for user, logged in (("user 1", 0), ("user 2", 1)):
        fields = stored.encode_user(msgspec.structs.replace(own, logged=logged))
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
