"""What all users share: it is read back as it was written, and a prior is built on the one that is there."""

from collections.abc import Callable

import pytest

from state import keys
from state.errors import CorruptState
from state.shared import Shared
from state.values.columns import Columns
from tests.unit.state.wire import Wire

pytestmark = pytest.mark.anyio

ONE = Columns((("1", "0" * 16), ("two*\n", "a" * 16)))
TWO = Columns((("é*x", "b" * 16),))


def shared(wire: Wire) -> Shared:
    return Shared(wire, timeout=100.0)


async def test_columns() -> None:
    """By their fingerprint, or all of them; what is damaged is named."""
    wire = Wire()
    for columns in (ONE, TWO, ONE):
        await shared(wire).publish(columns)
    assert await shared(wire).columns(TWO.fingerprint) == TWO
    assert await shared(wire).columns(b"other") is None
    assert await shared(wire).all_columns() == {ONE.fingerprint: ONE, TWO.fingerprint: TWO}
    await wire.ask(("HSET", keys.COLUMNS, b"odd", b"[]"))
    with pytest.raises(CorruptState, match="oo:columns odd: is not a list of columns"):
        await shared(wire).columns(b"odd")
    with pytest.raises(CorruptState, match="oo:columns odd: "):
        await shared(wire).all_columns()


async def test_when_columns_were_used() -> None:
    """To the end of the day, each policy's apart."""
    wire = Wire()
    assert await shared(wire).last_used("p") == {}
    await shared(wire).note_used({"p": ONE, "q": TWO}, 86_400)
    await shared(wire).note_used({"p": TWO}, 5 * 86_400 - 1)
    await wire.ask(("HSET", keys.USED, "q\nbad\n0", "x"))
    assert await shared(wire).last_used("p") == {
        **dict.fromkeys(ONE.pairs, 2 * 86_400),
        TWO.pairs[0]: 5 * 86_400,
    }
    assert await shared(wire).last_used("q") == {TWO.pairs[0]: 2 * 86_400}


async def test_whether_users_expire() -> None:
    """A replica with the setting notes it; one without it learns whether there ever was one."""
    wire = Wire()
    assert [await shared(wire).note_idle(days) for days in (0, 30, 0)] == [False, False, True]
    assert await wire.ask(("GET", keys.IDLE)) == [b"30"]


async def test_policies() -> None:
    """All that were ever noted, sorted."""
    wire = Wire()
    assert await shared(wire).policies() == []
    await shared(wire).note_policies(["q", "p"])
    await shared(wire).note_policies(["p", "r"])
    assert await shared(wire).policies() == ["p", "q", "r"]


async def test_priors() -> None:
    """Each policy has its own; the next one is made of the one that is there, also if that has just been written."""
    wire = Wire()

    def after(expected: bytes | None, text: bytes | None) -> Callable[[bytes | None], bytes | None]:
        def make(old: bytes | None) -> bytes | None:
            assert old == expected
            return text

        return make

    assert await shared(wire).priors() == {}
    await shared(wire).write_prior("p", after(None, b"1"))
    await shared(wire).write_prior("q", after(None, b"2"))
    await shared(wire).write_prior("p", after(b"1", b"3"))
    await shared(wire).write_prior("p", after(b"3", None))
    assert await shared(wire).priors() == {"p": b"3", "q": b"2"}
    wire.on("MULTI", lambda: wire.ask(("HSET", keys.PRIORS, "p", b"8")))
    await shared(wire).write_prior("p", lambda old: (old or b"") + b"+")
    assert await shared(wire).priors() == {"p": b"8+", "q": b"2"}


async def test_the_secret_of_the_console() -> None:
    """The first one that is offered stays."""
    wire = Wire()
    assert await shared(wire).console_secret(b"first") == b"first"
    assert await shared(wire).console_secret(b"second") == b"first"
    assert await wire.ask(("GET", keys.CONSOLE)) == [b"first"]
