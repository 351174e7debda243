"""The lines of the log: their form, and what cannot be one."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.decision_log.lines import LONGEST, BadLine, Snapshot, decode, encode, milliseconds, moment
from tests.unit.app.decision_log.samples import BEGIN, decision, outcome, state

# As the contract has them.
DECISION = (
    b'{"kind":"decision","id":"mail-2026-11-28.YW5u","user":"ann","epoch":"9f2c","seq":41,"ts":"2026-11-28T09:00:00.123Z",'
    b'"loop":"tips","policy":"egreedy-v1","arm":"champion","versions":{"egreedy-v1":"1f3c"},"prior":{"tips-v3":12},'
    b'"state":7,"seed":"5","context":{"hour_of_day":9},"user_features":{},"candidates":[{"id":"rent","features":'
    b'{"priority":4}},{"id":"walk","features":{}}],"x":{"overdue":1.0},"propensities":[0.95,0.05],"chosen":0,'
    b'"propensity":0.95,"by_policy":{"egreedy-v1":[0.95,0.05],"tips-v3":[0.99,0.01]},"window_s":86400,'
    b'"default_reward":null,"deferred":false}'
)
OUTCOME = (
    b'{"kind":"outcome","id":"mail-2026-11-28.YW5u","user":"ann","epoch":"9f2c","seq":44,"born":41,"n":1,'
    b'"ts":"2026-11-28T09:05:11.004Z","what":"applied","reward":0.5,"total":0.5,"late":false,'
    b'"learned":["egreedy-v1","tips-v3"]}'
)
STATE = b'{"kind":"state","user":"ann","epoch":"9f2c","seq":45,"ts":"2026-11-28T09:05:11.004Z","what":"reset"}'


@pytest.mark.parametrize("text", [DECISION, OUTCOME, STATE])
def test_the_form(text: bytes) -> None:
    """A line reads and writes the fields that were there from the beginning, in their order and without blanks."""
    assert encode(decode(text)) == text


def test_later_fields() -> None:
    """A line of a newer version can be read by an older one."""
    assert decode(STATE[:-1] + b',"later":[1]}\n') == decode(STATE)


@pytest.mark.parametrize(
    "line",
    [
        decision(explored=True, score=0.25, excluded=[1], champion="a", canary="b", share=0.1),
        outcome(what="corrected", was=0.25, part="p"),
        state(what="imported", models={"a": Snapshot(b"\x00\xff", b"", b"m", "f")}, lacking=["b"]),
    ],
)
def test_all_fields(line: Any) -> None:
    """What came later is kept, too."""
    assert decode(encode(line)) == line


@given(st.floats(allow_nan=False, allow_infinity=False), st.text(st.characters(codec="utf-8")))
def test_to_the_last_bit(number: float, text: str) -> None:
    """Numbers come back exactly, and no text breaks a line."""
    line = outcome(reward=number, part=text[:128])
    written = encode(line)
    back = decode(written)
    assert b"\n" not in written
    assert back == line
    assert msgspec.json.encode(back) == written


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "truncated"),
        (DECISION[:200], "truncated"),
        (b"\xff\xff", "malformed"),
        (b"[" * 100_000, "truncated|array|recursion"),
        (b'{"kind":"other"}', "other"),
        (STATE.replace(b'"seq":45', b'"seq":-1'), "seq"),
        (STATE.replace(b"2026-11-28T09:05:11.004Z", b"2026-02-30T09:05:11.004Z"), "ts"),
        (STATE.replace(b"2026-11-28T09:05:11.004Z", b"2026-11-28 09:05:11"), "not a time"),
        (DECISION.replace(b'"propensities":[0.95,0.05]', b'"propensities":[0.95]'), "one propensity"),
        (DECISION.replace(b'"tips-v3":[0.99,0.01]', b'"tips-v3":[0.99]'), "one propensity"),
        (DECISION.replace(b'"chosen":0', b'"chosen":2'), "chosen"),
        (DECISION.replace(b'"chosen":0', b'"chosen":1'), "chosen"),
        (DECISION.replace(b'"propensity":0.95', b'"propensity":1.5'), "propensity"),
        (DECISION[:-1] + b',"excluded":[2]}', "excluded"),
        (OUTCOME[:-1] + b',"decided":"yesterday"}', "not a time"),
        (STATE[:-1] + b" " * LONGEST + b"}", "more than"),
    ],
)
def test_what_is_no_line(text: bytes, why: str) -> None:
    """Whatever stands in a file, it is refused with a reason."""
    with pytest.raises(BadLine, match=f"(?i){why}"):
        decode(text)


@given(st.integers(0, 253_402_300_799_999))
def test_moments(ms: int) -> None:
    """A moment keeps its milliseconds."""
    assert milliseconds(moment(ms)) == ms


def test_moments_sort() -> None:
    """Texts of moments sort as the moments do."""
    assert moment(BEGIN) == "2026-11-28T09:00:00.123Z"
    assert moment(9) < moment(10) < moment(1_000)
