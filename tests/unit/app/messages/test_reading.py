"""How bodies are read, and what is said of those that cannot be."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.messages.classic import RewardRequest
from app.messages.reading import Reader, Unreadable

READ = Reader(RewardRequest, untyped=float)
BODY = b'{"user_id": "ann", "tip_id": "t", "reward": %b, "features": {%b}}'


@pytest.mark.parametrize(
    ("reward", "features", "value"),
    [(b"1", b"", 1.0), (b'"0.5"', b"", 0.5), (b"1.0", b'"is_overdue": "true", "priority": "3", "x": 1', 1.0)],
)
def test_reading_is_lenient(reward: bytes, features: bytes, value: float) -> None:
    """Numbers and truth may be text, as the first clients send them, and unknown fields are ignored."""
    told = READ(BODY % (reward, features))
    assert told.reward == value
    assert (told.features.priority, told.features.is_overdue) == ((3, True) if features else (1, False))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (BODY % (b"2", b""), "Expected `float` <= 1.0 - at `$.reward`"),
        (b"{", "the body is not JSON: "),
        (b"", "the body is not JSON: "),
        (BODY % (b"1", b'"x": "\xff"'), "the body is not UTF-8"),
        (b'{"x": ' + b"[" * 100_000, "the body is nested too deeply"),
    ],
)
def test_the_reason_is_told(body: bytes, said: str) -> None:
    """In words for the client's programmer."""
    with pytest.raises(Unreadable) as caught:
        READ(body)
    assert str(caught.value).startswith(said)


def test_a_profile_takes_any_number() -> None:
    """One too large for a float becomes infinite, which counts as absent; NaN is null."""
    body = BODY.replace(b'"reward"', b'"profile_features": {"a": 1e999, "b": NaN}, "reward"') % (b"1", b"")
    profile: dict[str, Any] = READ(body).profile_features or {}
    assert profile == {"a": float("inf"), "b": None}


@given(st.floats(allow_nan=False), st.sampled_from(["", "0", "00001"]))
def test_a_profile_takes_numbers_as_python_reads_them(number: float, more: str) -> None:
    """Also those with more digits than a float has, and whether or not there is an infinite one beside them."""
    text = repr(number).replace("inf", "1.0e999")
    mantissa, e, exponent = text.partition("e")
    text = f"{mantissa}{more if '.' in mantissa else ''}{e}{exponent}"
    for beside in ("0", "1e999"):
        features = f'"profile_features": {{"a": {text}, "b": {beside}}}, "reward"'.encode()
        profile = READ(BODY.replace(b'"reward"', features) % (b"1", b"")).profile_features or {}
        assert repr(profile["a"]) == repr(float(text) if set(text) & set(".e") else int(text))
