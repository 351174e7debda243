"""Settings: every variable of the environment, what it takes, and what is said of one that does not fit."""

import pytest

from app.settings import Secret, Settings, SettingsError, from_environment


@pytest.mark.parametrize(
    ("variable", "text", "line"),
    [
        ("PORT", "abc", "PORT: takes 1 to 65,535, not 'abc'"),
        ("PORT", "0", "PORT: takes 1 to 65,535, not '0'"),
        ("PORT", "80.5", "PORT: takes 1 to 65,535, not '80.5'"),
        ("MAX_INFLIGHT", "-1", "MAX_INFLIGHT: takes 0 or more, not '-1'"),
        ("EPSILON", "1.01", "EPSILON: takes 0 to 1, not '1.01'"),
        ("EPSILON", "nan", "EPSILON: takes 0 to 1, not 'nan'"),
        ("ALPHA", "inf", "ALPHA: takes 0 to 1,000, not 'inf'"),
        ("STORE_TIMEOUT_SECONDS", "0", "STORE_TIMEOUT_SECONDS: takes more than 0, at most 86,400, not '0'"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL: takes debug, error, info, warning, not 'loud'"),
        ("NATS_CREATE_STREAMS", "maybe", "NATS_CREATE_STREAMS: takes 1 or 0, not 'maybe'"),
        (
            "NATS_DURABLE_PREFIX",
            "a.b",
            "NATS_DURABLE_PREFIX: takes text that fits ^[A-Za-z0-9_-]{1,64}$, not 'a.b'",
        ),
    ],
)
def test_one_line_names_the_variable(variable: str, text: str, line: str) -> None:
    """What does not fit stops the start with one line: the variable, what it takes, what it was."""
    with pytest.raises(SettingsError) as caught:
        from_environment({variable: text})
    assert str(caught.value) == line


def test_empty_is_not_set() -> None:
    """An empty variable counts as one that is not there, and others do not matter."""
    assert from_environment({"PORT": "", "REDIS_URL": "", "SOMETHING": "else"}) == Settings()


def test_what_is_set_is_read() -> None:
    """Numbers, switches and secrets are read from their text."""
    found = from_environment({"PORT": "81", "EPSILON": "0.2", "NATS_CREATE_STREAMS": "true", "REDIS_URL": "redis://h"})
    assert (found.port, found.epsilon, found.nats_create_streams) == (81, 0.2, True)
    assert found.redis_url.reveal() == "redis://h"


def test_secrets_do_not_show() -> None:
    """Neither the repr of a secret nor that of all settings tells it."""
    found = from_environment({"REDIS_URL": "redis://user:hunter2@host:1/0?x=hunter2", "METRICS_KEY": "hunter2"})
    assert "hunter2" not in repr(found) + str(found.redis_url) + f"{found.metrics_key}"
    assert (repr(Secret("")), bool(Secret("")), bool(Secret("x"))) == ("Secret(empty)", False, True)
