"""The table from subject to handler: what a message may hold, and what is kept of it."""

import json
import logging
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.decisions.errors import Gone, NotKnown, Refused, Unfit
from app.events.handlers import MAX_EVENT_BYTES, MAX_FIELDS, Event, Malformed, Uses, handle

pytestmark = pytest.mark.anyio

SYNCED = "signals.task.synced"


class Kept:
    """Notes what the use-case was called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, str], float]] = []
        self.rewards: list[tuple[str, float, str | None]] = []
        self.refusal: Exception | None = None

    async def synced(self, user_id: str, fields: dict[str, str], received_at: float) -> None:
        self.calls.append((user_id, fields, received_at))

    async def reward(self, decision_id: str, reward: float, part: str | None) -> None:
        self.rewards.append((decision_id, reward, part))
        if self.refusal is not None:
            raise self.refusal


def uses(kept: Kept) -> Uses:
    return Uses(kept, kept.reward)


async def test_every_top_level_field_is_kept_as_text() -> None:
    """Strings as they are, everything else in its JSON form, nested values included, no digit of a number lost."""
    body = rb"""{"user_id": "u", "s": "caf\u00e9 \"x\"", "n": 12345678901234567890123, "f": 1e999, "t": true,
                 "z": null, "o": {"a": [1, {"b": "c"}]}, "e": ""}"""
    kept = Kept()
    await handle(Event(SYNCED, body, 12.5), uses(kept))
    assert kept.calls == [
        (
            "u",
            {
                "user_id": "u",
                "s": 'café "x"',
                "n": "12345678901234567890123",
                "f": "1e999",
                "t": "true",
                "z": "null",
                "o": '{"a": [1, {"b": "c"}]}',
                "e": "",
            },
            12.5,
        )
    ]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)


async def test_half_an_emoji_is_read() -> None:
    """Half of a surrogate pair becomes U+FFFD in all fields and names but the user id; a byte-order mark is ignored."""
    body = rb'{"user_id": "u", "title": "abc \ud83d", "\ude00": {"x": ["\\\ud83d", "\ud83d\ude00", "\\ud83d"]}}'
    kept = Kept()
    await handle(Event(SYNCED, b"\xef\xbb\xbf" + body, 0.0), uses(kept))
    [(user, texts, _)] = kept.calls
    assert (user, texts["user_id"], texts["title"]) == ("u", "u", "abc \ufffd")
    assert json.loads(texts["\ufffd"]) == {"x": ["\\\ufffd", "\U0001f600", "\\ud83d"]}


@given(st.dictionaries(st.text(), json_values, max_size=4))
async def test_any_object_with_a_user_is_kept_and_reads_back(fields: dict[str, object]) -> None:
    """Whatever JSON a sender puts into its fields, the text kept of each says the same value."""
    body = json.dumps({**fields, "user_id": "u"}).encode()
    kept = Kept()
    await handle(Event(SYNCED, body, 0.0), uses(kept))
    [(_, texts, _)] = kept.calls
    for name, value in {**fields, "user_id": "u"}.items():
        assert texts[name] == value if isinstance(value, str) else json.loads(texts[name]) == value


MALFORMED: dict[str, tuple[bytes, str]] = {
    "half an emoji in the user id": (rb'{"user_id": "u\ud83d"}', "user_id"),
    "empty": (b"", "truncated"),
    "not JSON": (b"user_id=u", "malformed"),
    "not UTF-8": (b'{"user_id": "\xff"}', "utf-8"),
    "not UTF-8 in a field": (b'{"user_id": "u", "x": "\xff"}', "utf-8"),
    "not UTF-8 in a name": (b'{"user_id": "u", "\xff": 1}', "utf-8"),
    "half an escape": (rb'{"user_id": "u", "x": "\ud80"}', "JSON is malformed|truncated"),
    "two byte-order marks": (b'\xef\xbb\xbf\xef\xbb\xbf{"user_id": "u"}', "malformed"),
    "not a number in a profile": (b'{"user_id": "u", "profile_features": {"x": NaN}}', "malformed"),
    "an array": (b"[]", "Expected `object`"),
    "null": (b"null", "Expected `object`"),
    "no user": (b"{}", "user_id"),
    "user is a number": (b'{"user_id": 5}', "Expected `str`"),
    "user is null": (b'{"user_id": null}', "Expected `str`"),
    "user is empty": (b'{"user_id": ""}', "length >= 1"),
    "user is too long": (json.dumps({"user_id": "u" * 257}).encode(), "length <= 256"),
    "not a number": (b'{"user_id": "u", "x": NaN}', "malformed"),
    "something after it": (b'{"user_id": "u"} x', "trailing"),
    "too deep": (b'{"user_id": "u", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "deep"),
    "too large": (json.dumps({"user_id": "u", "x": "y" * MAX_EVENT_BYTES}).encode(), "more than 262144"),
    "too many fields": (msgspec.json.encode({"user_id": "u"} | {str(n): n for n in range(MAX_FIELDS)}), "1001 fields"),
}


@pytest.mark.parametrize("case", MALFORMED)
async def test_what_can_never_be_handled_is_malformed(case: str) -> None:
    """Each error says why without repeating the event, and the use-case is not called."""
    body, reason = MALFORMED[case]
    kept = Kept()
    with pytest.raises(Malformed, match=reason):
        await handle(Event(SYNCED, body, 0.0), uses(kept))
    assert not kept.calls


async def test_a_user_id_of_256_characters_is_taken() -> None:
    """Characters are counted, not bytes."""
    kept = Kept()
    await handle(Event(SYNCED, json.dumps({"user_id": "é" * 256}).encode(), 0.0), uses(kept))
    assert kept.calls[0][0] == "é" * 256


async def test_feedback_is_one_line_with_ids_alone(caplog: pytest.LogCaptureFixture) -> None:
    """The log has the ids as fields, and nothing of what people wrote into the feedback."""
    body = b'{"user_id": "u", "tip_id": "t", "comment": "my phone number is"}'
    with caplog.at_level(logging.INFO, "oo.events"):
        await handle(Event("signals.tip.feedback", body, 1_700_000_000.9), uses(Kept()))
    [line] = caplog.records
    assert line.getMessage() == "tip feedback"
    assert {name: vars(line)[name] for name in ("user_id", "tip_id", "stored_at")} == {
        "user_id": "u",
        "tip_id": "t",
        "stored_at": "2023-11-14T22:13:20Z",
    }
    assert "phone" not in str(vars(line))


@pytest.mark.parametrize(("tip", "taken"), [("", True), ("t" * 256, True), ("t" * 257, False)])
async def test_tip_ids_are_those_of_http(tip: str, taken: bool, caplog: pytest.LogCaptureFixture) -> None:
    """An event may name any tip that can be scored and rewarded over HTTP."""
    event = Event("signals.tip.feedback", json.dumps({"user_id": "u", "tip_id": tip}).encode(), 0.0)
    with caplog.at_level(logging.INFO, "oo.events"), suppress(Malformed):
        await handle(event, uses(Kept()))
    assert [vars(line)["tip_id"] for line in caplog.records] == [tip] * taken


@pytest.mark.parametrize("subject", ["signals.other", "signals.task.synced.more", "feedback.tip", "signals.tip"])
async def test_other_subjects_are_done_at_once(subject: str) -> None:
    """Their bodies are not read."""
    kept = Kept()
    await handle(Event(subject, b"\xff", 0.0), uses(kept))
    assert not kept.calls


REWARDED = "feedback.decision.reward"


async def test_the_outcome_of_a_decision() -> None:
    """With its part, if there is one."""
    kept = Kept()
    await handle(Event(REWARDED, b'{"decision_id": "a.YQ", "reward": 0.5}', 0.0), uses(kept))
    await handle(Event(REWARDED, b'{"decision_id": "a.YQ", "reward": 1, "part": "p", "more": 1}', 0.0), uses(kept))
    assert kept.rewards == [("a.YQ", 0.5, None), ("a.YQ", 1.0, "p")]
    for body in (
        b'{"decision_id": "a.YQ"}',
        b'{"decision_id": 1, "reward": 1}',
        b'{"decision_id": "a.YQ", "reward": "x"}',
    ):
        with pytest.raises(Malformed):
            await handle(Event(REWARDED, body, 0.0), uses(kept))


@pytest.mark.parametrize("error", [Gone("gone"), Unfit("no"), Refused("no", "rewarded", 1.0)])
async def test_what_will_never_be_right_is_final(error: Exception) -> None:
    """It is not delivered again; a decision that is not known yet may come."""
    kept = Kept()
    kept.refusal = error
    with pytest.raises(Malformed, match=str(error)):
        await handle(Event(REWARDED, b'{"decision_id": "a.YQ", "reward": 1}', 0.0), uses(kept))
    kept.refusal = NotKnown("there is no such decision")
    with pytest.raises(NotKnown):
        await handle(Event(REWARDED, b'{"decision_id": "a.YQ", "reward": 1}', 0.0), uses(kept))
