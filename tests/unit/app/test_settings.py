"""Settings: every variable of the environment, what it takes, and what is said of one that does not fit."""

import ast

import pytest

from app.settings import ROOT_PATH, Secret, Settings, SettingsError, from_environment
from tests.support.processes import ROOT


@pytest.mark.parametrize(
    ("variable", "text", "line"),
    [
        ("PORT", "abc", "PORT: takes a whole number, 1 to 65,535, not 'abc'"),
        ("PORT", "0", "PORT: takes a whole number, 1 to 65,535, not '0'"),
        ("PORT", "80.5", "PORT: takes a whole number, 1 to 65,535, not '80.5'"),
        ("MAX_INFLIGHT", "-1", "MAX_INFLIGHT: takes a whole number, 0 or more, not '-1'"),
        ("RATE_LIMIT_PER_SECOND", "0.5", "RATE_LIMIT_PER_SECOND: takes a whole number, 0 or more, not '0.5'"),
        ("PORT", "8 0\n", "PORT: takes a whole number, 1 to 65,535, not '8 0'"),
        ("EPSILON", "1.01", "EPSILON: takes 0 to 1, not '1.01'"),
        ("EPSILON", "nan", "EPSILON: takes 0 to 1, not 'nan'"),
        ("ALPHA", "inf", "ALPHA: takes 0 to 1,000, not 'inf'"),
        ("STORE_TIMEOUT_SECONDS", "0", "STORE_TIMEOUT_SECONDS: takes more than 0, at most 86,400, not '0'"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL: takes debug, error, info, warning, not 'loud'"),
        ("NATS_CREATE_STREAMS", "maybe", "NATS_CREATE_STREAMS: takes 1 or 0, not 'maybe'"),
        (
            "ROOT_PATH",
            "bandit",
            f"ROOT_PATH: takes text that fits {ROOT_PATH}, such as /bandit, not 'bandit'",
        ),
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


# One value for each setting.
GIVEN = {
    "HOST": "::1",
    "PORT": "81",
    "WORKERS": "2",
    "LOG_LEVEL": "warning",
    "LOG_FORMAT": "json",
    "ACCESS_LOG": "off",
    "CONSOLE": "0",
    "RATE_LIMIT_PER_SECOND": "5",
    "REDIS_WAIT_REPLICAS": "2",
    "EPSILON": "0.2",
    "DECISION_LOG_BACKLOG": "2000000",
    "NATS_CREATE_STREAMS": "true",
    "NATS_DURABLE_PREFIX": "mine",
    "PERSONALIZER_APP": "mine",
    "ROOT_PATH": "/mine",
    "NATS_JETSTREAM_DOMAIN": "leaf",
    "STORE_TIMEOUT_SECONDS": "1.5",
}


@pytest.mark.parametrize("variable", [name.upper() for name in Settings.__struct_fields__])
def test_white_space_around_a_value_does_not_count(variable: str) -> None:
    """So it is with every setting, secrets too: a mounted file ends in a line break. Nothing else is not set."""
    default = getattr(Settings(), variable.lower())
    plain = GIVEN.get(variable, "3" if isinstance(default, int | float) else "Some Text")
    if variable == "MAX_BODY_BYTES":
        plain = "4096"
    if variable == "REDIS_POOL_SIZE":
        plain = "8"
    found = from_environment({variable: plain})
    assert found != Settings()
    for careless in (" {} ", "{}\n", "\t{}\r\n"):
        assert from_environment({variable: careless.format(plain)}) == found
        assert from_environment({variable: careless.format("")}) == Settings()


@pytest.mark.parametrize("variable", ["LOG_LEVEL", "LOG_FORMAT", "ACCESS_LOG", "NATS_CREATE_STREAMS"])
def test_case_of_a_word_does_not_count(variable: str) -> None:
    """Where there are some words to choose from; other texts keep theirs."""
    for word in (GIVEN[variable].upper(), GIVEN[variable].title()):
        assert from_environment({variable: word}) == from_environment({variable: GIVEN[variable]})
    assert from_environment({"REDIS_WAIT_REPLICAS": "AUTO"}) == Settings()
    assert from_environment({"NATS_DURABLE_PREFIX": "Mine"}).nats_durable_prefix == "Mine"
    switch = [
        from_environment({"NATS_CREATE_STREAMS": word}).nats_create_streams for word in ("1", "True", "0", "FALSE")
    ]
    assert switch == [True, True, False, False]


def test_secrets_do_not_show() -> None:
    """Neither the repr of a secret nor that of all settings tells it."""
    found = from_environment({"REDIS_URL": "redis://user:hunter2@host:1/0?x=hunter2", "METRICS_KEY": "hunter2"})
    assert "hunter2" not in repr(found) + str(found.redis_url) + f"{found.metrics_key}"
    assert (repr(Secret("")), bool(Secret("")), bool(Secret("x"))) == ("Secret(empty)", False, True)


def reads_the_environment(source: str) -> bool:
    names = ("environ", "environb", "getenv", "putenv")
    return any(name in source for name in names) and any(
        isinstance(node, ast.Attribute) and node.attr in names for node in ast.walk(ast.parse(source))
    )


def test_only_the_entry_points_read_the_environment() -> None:
    """All else is given its settings: a variable that is read elsewhere would be in no table of the documents."""
    found = {
        str(path.relative_to(ROOT))
        for top in ("app", "state")
        for path in (ROOT / top).rglob("*.py")
        if reads_the_environment(path.read_text())
    }
    assert found == {"app/__main__.py", "app/main.py", "app/commands/cli.py"}
