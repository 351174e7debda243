"""Evidence is read back as it was written."""

import msgspec
import pytest

from app.evaluation.evidence import evidence
from app.experiments.verdict import Verdict, decode, encode, shown
from state.errors import CorruptState
from tests.unit.app.evaluation.logs import few, made, many
from tests.unit.app.experiments.scene import gate, verdict


@pytest.mark.parametrize("log", [few(), many(), made(2_000, seed=7)], ids=["few", "many", "made"])
def test_what_was_made_of_a_log(log: object) -> None:
    """Whatever was refused in it."""
    found = Verdict(1_800_000_000, "h", evidence(log, "tips"))  # type: ignore[arg-type]  # all are logs
    assert decode("tips", encode(found)) == found


def test_what_is_no_evidence() -> None:
    """The error names the key."""
    for text in (b"", b"{}", b"\xff", b"[" * 5_000, encode(verdict(None)).replace(b'"at":1000', b'"at":-1')):
        with pytest.raises(CorruptState, match=r"^oo:evidence tips: is not evidence"):
            decode("tips", text)


def test_what_an_audit_trail_keeps() -> None:
    """The bounds, and a digest that changes with anything."""
    one = verdict(gate(0.1, 0.2))
    kept = shown(one, "watches")
    assert kept is not None
    assert (kept.at, kept.n, kept.low, kept.high, len(kept.digest)) == (1_000, 5_000, 0.1, 0.2, 16)
    other = shown(msgspec.structs.replace(one, at=1_001), "watches")
    assert other is not None
    assert other.digest != kept.digest
    assert shown(one, "serves") is None
    assert shown(one, "nobody") is None
