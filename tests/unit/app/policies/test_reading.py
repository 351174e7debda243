"""A file that does not fit is one line, which names the table, the key, and what it takes."""

import datetime as dt
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.policies.catalog import assembled
from app.policies.reading import MOST_BYTES, BadPolicies, parse, rows_of
from app.policies.rows import ByIgw, NumberRow
from tests.unit.app.policies.samples import PUSH


def feature(text: str) -> str:
    return f"[features]\na = {{ {text} }}"


def policy(text: str) -> str:
    return f"[policies.p]\n{text}"


KINDS = "'number', 'flag', 'member', 'cycle', 'alignment', 'bins', 'category', 'hash', 'vector' or 'nested'"
EXPLORERS = "'epsilon', 'linucb', 'thompson' or 'igw'"
SAME = "a name of 1 to 64 letters, digits"

WRONG = [
    ("a = [[", "is not TOML: Invalid value (at end of document)"),
    ("a = " + "[" * 50_000, "is not TOML: its lists or tables are too deep in one another"),
    ("a = " + "9" * 5_000, "is not TOML: Exceeds the limit"),
    ("[x]", "has a table [x]; it takes [features], [policies.NAME] and [loops.NAME]"),
    ('["a\\nb"]', r"has a table [a\nb]; it takes"),
    ("features = 3", "[features] takes a table for each name, at most 256, not 3"),
    ("loops = []", "[loops] takes a table for each name, at most 256, not a list of 0"),
    (
        "[policies]\n" + "\n".join(f"p{n} = 1" for n in range(257)),
        "[policies] takes a table for each name, at most 256",
    ),
    ('[features]\n"a b" = {}', f"[features] 'a b': takes {SAME} and underscores that does not begin with a digit"),
    ("[features]\n1 = {}", f"[features] '1': takes {SAME}"),
    ('[policies."-p"]', f"[policies] '-p': takes {SAME}, dots, hyphens and underscores that begins with a letter or"),
    ('[loops."a\\nb"]', rf"[loops] 'a\nb': takes {SAME}, hyphens and underscores"),
    (f'[loops."{"x" * 65}"]', f"[loops] '{'x' * 59}…: takes {SAME}"),
    ("[features]\na = 5", f"[features] a: takes a table with kind = {KINDS}, not 5"),
    (feature(""), f"[features] a: lacks the key 'kind', which takes {KINDS}"),
    (feature('kind = "x"'), f"[features] a: kind: takes {KINDS}, not 'x'"),
    (feature("kind = 3"), f"[features] a: kind: takes {KINDS}, not 3"),
    (feature('kind = "flag"'), "[features] a: lacks the key 'of', which takes 'candidate', 'context' or 'user'"),
    (feature('kind = "flag", of = "me"'), "[features] a: of: takes 'candidate', 'context' or 'user', not 'me'"),
    (
        feature('kind = "flag", of = "user", colour = 1'),
        "[features] a: has a key 'colour'; it takes kind, of, field, default, missing",
    ),
    (feature('kind = "flag", of = "user", "a\\nb" = 1'), r"[features] a: has a key 'a\nb'; it takes kind"),
    (feature('kind = "number", of = "user", min = 0'), "[features] a: lacks the key 'max', which takes a number from"),
    (
        feature('kind = "number", of = "user", min = nan, max = 1'),
        "[features] a: min: takes a number from -1e+12 to 1e+12, not nan",
    ),
    (feature('kind = "number", of = "user", min = 0, max = inf'), "[features] a: max: takes a number from"),
    (
        feature(f'kind = "number", of = "user", min = 0, max = {10**70}'),
        "[features] a: max: takes a number from -1e+12 to 1e+12, not a number out of all proportion",
    ),
    (feature('kind = "number", of = "user", min = 0, max = 1, scale = "ln"'), "a: scale: takes 'linear' or 'log', not"),
    (feature('kind = "number", of = "user", min = 0, max = 1, missing = "x"'), "a: missing: takes 'column', not 'x'"),
    (feature('kind = "member", of = "user", values = [true]'), "[features] a: values[0]: takes a number from"),
    (
        feature('kind = "bins", of = "user", edges = [1, "x"]'),
        "[features] a: edges[1]: takes a number from -1e+12 to 1e+12, not 'x'",
    ),
    (
        feature('kind = "bins", of = "user", edges = []'),
        "[features] a: edges: takes a list of 1 to 64 items, each a number from -1e+12 to 1e+12, not a list of 0",
    ),
    (
        feature('kind = "hash", of = "user", buckets = 1'),
        "[features] a: buckets: takes a whole number from 2 to 256, not 1",
    ),
    (feature('kind = "hash", of = "user", buckets = 2.5'), "a: buckets: takes a whole number from 2 to 256, not 2.5"),
    (feature('kind = "vector", of = "user", size = 257'), "a: size: takes a whole number from 1 to 256, not 257"),
    (feature('kind = "cycle", of = "user", period = 0'), "a: period: takes a number from 1e-06 to 1e+12, not 0"),
    (feature('kind = "flag", of = "user", field = ""'), "a: field: takes text of 1 to 128 characters, not ''"),
    (feature('kind = "flag", of = "user", default = {}'), "a: default: takes a number from"),
    (feature('kind = "flag", of = "user", default = 2026-11-28'), "not 2026-11-28"),
    (policy(""), f"[policies] p: lacks the key 'explore', which takes a table with by = {EXPLORERS}"),
    (policy('explore = "igw"'), f"[policies] p: explore: takes a table with by = {EXPLORERS}, not 'igw'"),
    (policy('explore = { by = "ucb" }'), f"[policies] p: explore.by: takes {EXPLORERS}, not 'ucb'"),
    (policy("explore = { alpha = 1 }"), f"[policies] p: explore: lacks the key 'by', which takes {EXPLORERS}"),
    (
        policy('explore = { by = "linucb" }'),
        "[policies] p: explore: lacks the key 'alpha', which takes a number from 0 to 1,000",
    ),
    (
        policy('explore = { by = "linucb", alpha = 1, flor = 1 }'),
        "[policies] p: explore: has a key 'flor'; it takes by, alpha, floor",
    ),
    (
        policy('explore = { by = "linucb", alpha = 1, floor = 2 }'),
        "[policies] p: explore.floor: takes a number from 0 to 1, not 2",
    ),
    (
        policy('explore = { by = "thompson", scale = 0 }'),
        "[policies] p: explore.scale: takes a number above 0, at most 1,000, not 0",
    ),
    (
        policy('explore = { by = "igw", sharpness = true }'),
        "[policies] p: explore.sharpness: takes a number above 0, at most 1e+09, not true",
    ),
    (policy('explore = { by = "epsilon", epsilon = 1 }\ncolumns = []'), "p: columns: takes a list of 1 to 256 items"),
    (
        policy('explore = { by = "epsilon", epsilon = 1 }\ncross = [["1", 2]]'),
        "[policies] p: cross[0][1]: takes text of 1 to 512 characters, not 2",
    ),
    (
        policy('explore = { by = "epsilon", epsilon = 1 }\nforget = 0.4'),
        "forget: takes a number from 0.5 to 1, not 0.4",
    ),
    (policy('explore = { by = "epsilon", epsilon = 1 }\nprior = "own"'), "prior: takes 'plain' or 'population', not"),
    ("[loops.l]", "[loops] l: lacks the key 'champion', which takes text of 1 to 128 characters"),
    ("[loops]\nl = 2026-11-28", "[loops] l: takes a table with champion, shadows, window, reward, default_reward"),
    ('[loops.l]\nchampion = "x"\nreward = { lo = 1 }', "[loops] l: reward: has a key 'lo'; it takes min, max"),
    ('[loops.l]\nchampion = "x"\nreward = { min = "a" }', "reward.min: takes a number from -1e+06 to 1e+06, not 'a'"),
    ('[loops.l]\nchampion = "x"\nmissing = nan', "[loops] l: missing: takes a number from -1e+06 to 1e+06, not nan"),
    ('[loops.l]\nchampion = "x"\nlate = "x"', "[loops] l: late: takes 'correct' or 'discard', not 'x'"),
    ('[loops.l]\nchampion = "x"\nopen_max = 0', "[loops] l: open_max: takes a whole number from 1 to 1,000,000, not 0"),
]


@pytest.mark.parametrize(("text", "said"), WRONG)
def test_what_is_wrong_is_one_line(text: str, said: str) -> None:
    """Whatever is wrong."""
    with pytest.raises(BadPolicies) as caught:
        parse(text)
    assert said in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


def test_a_huge_file_is_refused() -> None:
    """A file has a million bytes at most, of however few characters."""
    parse("#" * MOST_BYTES)
    for text in ("#" * (MOST_BYTES + 1), "#" + "é" * (MOST_BYTES // 2)):
        with pytest.raises(BadPolicies, match="has more than 1,000,000 bytes"):
            parse(text)


def test_rows() -> None:
    """Numbers may be whole; what a file does not say is as the rows have it."""
    rows = parse(PUSH)
    assert rows.features["age"] == NumberRow(of="candidate", field="days", min=0.0, max=30.0)
    assert list(rows.policies) == ["push"]
    assert rows.loops["push"].late == "correct"
    assert parse("").features == {}
    explore = rows_of({"policies": {"p": {"explore": {"by": "igw", "sharpness": 3}}}}).policies["p"].explore
    assert explore == ByIgw(sharpness=3.0)


def words(text: str) -> list[str]:
    return text.split()


# Words of policy files, so that many tables are nearly right.
NAMES = st.sampled_from(["a", "b", "push", "hour", "1", "tips-v3", "history", "x y", "a_sin", "\n", "a*b", ""])
WORDS = st.sampled_from(
    words("""
    number flag member cycle alignment bins category hash vector context user
    candidate column log epsilon linucb thompson igw plain population correct sum
    keep refuse 24h 1s 90d 91d a b hour 1 hour*a
    push
""")
)
NUMBERS = st.integers() | st.floats() | st.sampled_from([0, 1, 2, 24, 0.5, 10**400, -(10**400)])
PLAIN = WORDS | NUMBERS | st.booleans() | NAMES | st.text() | st.just(dt.date(2026, 11, 28))
LISTS = st.lists(PLAIN, max_size=4) | st.lists(st.lists(WORDS, min_size=1, max_size=3), max_size=3)
KEYS = st.sampled_from(
    words("""
    of field kind default missing min max scale values period with
    edges buckets size explore columns cross forget prior reward_baseline classic champion
    shadows window reward default_reward late aggregation open_max by alpha floor epsilon
""")
)
ROW = st.dictionaries(KEYS | NAMES, PLAIN | LISTS | st.dictionaries(KEYS, PLAIN, max_size=4), max_size=6)
FEATURE = st.fixed_dictionaries(
    {
        "of": st.sampled_from(["context", "user", "candidate"]),
        "kind": WORDS,
    },
    optional={
        "min": NUMBERS,
        "max": NUMBERS,
        "values": LISTS,
        "edges": LISTS,
        "buckets": NUMBERS,
        "size": NUMBERS,
        "period": NUMBERS,
        "with": NAMES,
        "default": PLAIN | LISTS,
        "missing": WORDS,
    },
)
POLICY = st.fixed_dictionaries(
    {
        "explore": st.fixed_dictionaries(
            {"by": WORDS}, optional={"alpha": NUMBERS, "epsilon": NUMBERS, "floor": NUMBERS}
        )
    },
    optional={"columns": st.lists(NAMES | WORDS), "cross": LISTS, "forget": NUMBERS},
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "features": PLAIN | st.dictionaries(NAMES, ROW | FEATURE | PLAIN, max_size=4),
            "policies": PLAIN | st.dictionaries(NAMES, ROW | POLICY | PLAIN, max_size=3),
            "loops": PLAIN | st.dictionaries(NAMES, ROW | PLAIN, max_size=2),
        },
    )
)
def test_any_tables_are_read_or_refused(tables: dict[str, Any]) -> None:
    """Nothing else is ever raised, neither by the reading nor by the making, and what is said is one line."""
    said = ""
    try:
        assembled(rows_of(tables), alpha=1.0, epsilon=0.1)
    except BadPolicies as error:
        said = str(error)
    assert said.isprintable()
