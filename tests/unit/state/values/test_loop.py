"""The state of a loop is read back as it was written, and refused if it is something else."""

import msgspec
import pytest

from state.errors import CorruptState
from state.values.loop import Canary, Change, Shown, Stage, Standing, decode, decode_audit, encode

STANDING = Standing(3, "e" * 16, "n", Stage(3, "a", Canary("b", 0.1)), [Stage(1, "b"), Stage(0, "a")])
CHANGE = Change(3, 1_800_000_000_000, "ops", Stage(3, "a", Canary("b", 0.1)), evidence=Shown(5, 9, 0.1, 0.2, "d"))


def test_what_was_written() -> None:
    """States and audit trails; fields that a later version adds are left alone."""
    assert decode("k", encode(STANDING)) == STANDING
    assert decode("k", encode(STANDING)[:-1] + b',"later":1}') == STANDING
    assert decode_audit("k", encode([CHANGE, CHANGE])) == [CHANGE, CHANGE]
    assert decode_audit("k", None) == []


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"\xff",
        b"[" * 5_000,
        encode(msgspec.structs.replace(STANDING, number=0)),
        encode(msgspec.structs.replace(STANDING, number=2)),  # a stage is from the future
        encode(msgspec.structs.replace(STANDING, now=Stage(3, "a", Canary("a", 0.1)))),
        encode(msgspec.structs.replace(STANDING, now=Stage(3, "a", Canary("b", 1.0)))),
        encode(msgspec.structs.replace(STANDING, now=Stage(3, ""))),
        encode(msgspec.structs.replace(STANDING, former=[Stage(0, "a")] * 17)),
    ],
)
def test_what_is_no_state(text: bytes) -> None:
    """The error names the key."""
    with pytest.raises(CorruptState, match=r"^oo:loops tips: is not the state of a loop"):
        decode("oo:loops tips", text)


def test_what_is_no_audit_trail() -> None:
    """Neither."""
    for text in (b"{}", b"[1]", b"\xff"):
        with pytest.raises(CorruptState, match=r"^k: is not a list of changes"):
            decode_audit("k", text)
