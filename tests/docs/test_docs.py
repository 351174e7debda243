"""The tables of the documents against the code: settings, routes, fields, errors, keys, policies and features.

Two are written by `.venv/bin/python -m tests.docs.test_docs`: settings and routes.
"""

import functools
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, get_args, get_type_hints

import httpx
import msgspec
import pytest
from msgspec import inspect

from app.bandit.explore import EpsilonGreedy, Explorer, InverseGap, Thompson, UpperConfidence
from app.messages import classic, tips
from app.policies.catalog import catalog, policies
from app.policies.rows import AnyFeature
from app.settings import Secret, Settings, takes
from state import keys
from tests.docs.pages import PAGES, ROOT, blocks
from tests.support.service import service
from tests.support.waiting import PATIENCE_SECONDS

EXPLORE: Final = "[policies.p]\ncolumns = ['1']\nexplore = {{ {} }}"
README: Final = ROOT / "README.md"
USE: Final = ROOT / "docs/use"
RUN: Final = ROOT / "docs/run"


def table(text: str) -> list[list[str]]:
    """The cells of each row of the first table in a text, the heading left out."""
    lines = text[text.index("\n|") + 1 :].splitlines()
    rows = lines[2 : next((at for at, line in enumerate(lines) if not line.startswith("|")), len(lines))]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def marked(page: Path, mark: str) -> list[list[str]]:
    """The rows of the table that stands below `<!-- mark -->`."""
    _, found, rest = page.read_text().partition(f"<!-- {mark} -->")
    assert found, f"{page.name} has no place for {mark}"
    return table(rest)


def unquoted(cells: Iterable[str]) -> list[str]:
    return [cell.strip("`") for cell in cells]


# Written tables


def default(value: object) -> str:
    """A default as it would stand in the environment."""
    if isinstance(value, Secret):
        value = value.reveal()
    if isinstance(value, bool):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"`{value}`" if value != "" else "empty"


def settings_table() -> str:
    """One row per field of Settings."""
    rows = ["| variable | default | takes | is |", "| --- | --- | --- | --- |"]
    hints = get_type_hints(Settings, include_extras=True)
    for name, hint in hints.items():
        described = msgspec.inspect.type_info(hint)
        assert isinstance(described, msgspec.inspect.Metadata), f"{name} has no description"
        text = (described.extra_json_schema or {})["description"]
        rows.append(
            f"| `{name.upper()}` | {default(getattr(Settings(), name))} | {takes(described)} | {text} |".replace(
                "||", "\\|"
            )
        )
    return "\n".join(rows)


@functools.cache
def operations() -> dict[str, dict[str, Any]]:
    """`METHOD /path` of every route in the service's own OpenAPI document, and what it says of it."""
    with service() as server:
        document = httpx.get(f"{server.url}/schema/openapi.json", timeout=PATIENCE_SECONDS).raise_for_status().json()
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def routes_table() -> str:
    """One row per route, with its summary."""
    rows = ["| route | does |", "| --- | --- |"]
    rows += [f"| `{route}` | {operation['summary']} |" for route, operation in operations().items()]
    return "\n".join(rows)


WRITTEN: Final = {"settings": (RUN / "settings.md", settings_table), "routes": (USE / "api.md", routes_table)}


def place_of(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- /{name} -->)", re.DOTALL)


@pytest.mark.parametrize("name", WRITTEN)
def test_written_tables_are_fresh(name: str) -> None:
    """Every setting and route is in its table as the code has it, and none that does not exist."""
    page, write = WRITTEN[name]
    found = place_of(name).search(page.read_text())
    assert found, f"{page.name} has no place for {name}"
    assert found[0].splitlines() == write().splitlines(), "renew it: .venv/bin/python -m tests.docs.test_docs"


# Settings and lengths


def test_settings_are_tabled_once() -> None:
    """No page but docs/run/settings.md has a table of settings."""
    pages = [README, *(ROOT / "docs").rglob("*.md")]
    assert [
        page.name for page in pages if re.search(r"^\| (variable|`[A-Z]+_[A-Z_]+`) \|", page.read_text(), re.MULTILINE)
    ] == ["settings.md"]


@pytest.mark.parametrize(
    ("page", "prefixes"), [("events", ("NATS_",)), ("tips", ("LITELLM_", "LLM_", "DEFAULT_PROMPT_"))]
)
def test_page_tells_of_the_settings_of_its_subject(page: str, prefixes: tuple[str, ...]) -> None:
    """The page of a subject says what each of its settings is for, and leads to the table."""
    text = (USE / f"{page}.md").read_text()
    assert "../run/settings.md" in text
    own = {name.upper() for name in Settings.__struct_fields__ if name.upper().startswith(prefixes)}
    assert {name for name in own if not re.search(rf"\b{name}\b", text)} == set()


def test_named_settings_exist() -> None:
    """A variable that a page for users or the README names is a setting, or one of those that others read."""
    others = {"SSL_CERT_FILE", "HTTP_PROXY", "OTEL_"}
    named = {
        (page.name, name)
        for page in [README, *USE.glob("*.md"), *(RUN / f"{name}.md" for name in ("settings", "redis", "replicas"))]
        for name in re.findall(r"`([A-Z]+_[A-Z_]+)\b", page.read_text())
    }
    settings = {name.upper() for name in Settings.__struct_fields__}
    prefixes = {name.split("_")[0] + "_" for name in settings} | {"DEFAULT_PROMPT_"}
    assert {(page, name) for page, name in named if name not in settings | others | prefixes} == set()
    assert len(named) > 20


def test_readme_is_short() -> None:
    """A newcomer reads the README to its end."""
    assert len(README.read_text().splitlines()) <= 150


# The API


def named_default(field: msgspec.inspect.Field) -> str:
    """A field's default as the tables show it."""
    if field.required:
        return "required"
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if value is None:
        return "null"
    if isinstance(value, msgspec.Struct):
        return "`{}`"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"`{msgspec.json.encode(value).decode()}`"


@pytest.mark.parametrize(
    ("page", "type_"),
    [
        ("api", classic.ScoreRequest),
        ("api", classic.ScoreContext),
        ("api", classic.Candidate),
        ("api", classic.CandidateFeatures),
        ("api", classic.ProfileFeatures),
        ("api", classic.RewardRequest),
        ("tips", tips.GenerateRequest),
        ("tips", tips.GenerateContext),
    ],
)
def test_fields_are_tabled(page: str, type_: type[msgspec.Struct]) -> None:
    """Every field of a message is in its table with its default, in any order, and none that is not read."""
    described = msgspec.inspect.type_info(type_)
    assert isinstance(described, msgspec.inspect.StructType)
    shown = {cells[0].strip("`"): cells[1] for cells in marked(USE / f"{page}.md", f"fields {type_.__name__}")}
    assert shown == {field.encode_name: named_default(field) for field in described.fields}


def test_every_error_is_explained() -> None:
    """The page says what each status means that some route answers, and those of what reaches no route."""
    text = (USE / "api.md").read_text()
    rows = table(text[text.index("\n| status | means |") :])
    said = [status for row in rows for status in re.findall(r"\d+", row[0])]
    answered = {status for operation in operations().values() for status in operation["responses"]}
    assert set(said) == (answered - {"200"}) | {"400", "404", "405", "408", "431"}
    assert len(said) == len(set(said))


# Redis


def test_keys_are_tabled() -> None:
    """Every key that the service writes is in the table once, under the name that state/keys.py gives it."""
    ids = list(policies())
    written = {
        *(keys.record("<id>", name) for name in ids),
        keys.history("<id>"),
        keys.sync("<id>"),
        keys.index("<id>"),
        keys.shared("<id>"),
        keys.decisions("<id>"),
        keys.agenda("<id>"),
        keys.of("<id>", keys.SEEN),
        keys.due(None),
        keys.outbox(None),
        keys.IDLE,
        keys.INDEXED_SINCE,
        keys.COLUMNS,
        keys.CONSOLE,
        keys.USED,
        keys.POLICIES,
        keys.PRIORS,
        keys.LOOPS,
        keys.EVIDENCE,
        keys.PERSONALIZER,
        keys.record("<id>", "<policy>"),
        f"{keys.of('<id>', '<policy>')}:once:<key>",
        "oo:flight:...",
        "oo:rate:<name>",
    }
    shown = [name for row in table((RUN / "redis.md").read_text()) for name in re.findall(r"`(oo:[^`]+)`", row[0])]
    assert sorted(shown) == sorted(key.replace("%3C", "<").replace("%3E", ">") for key in written)
    # Those that no function makes of a placeholder.
    assert keys.marker("ann", ids[0], "k") == f"{keys.of('ann', ids[0])}:once:k"
    assert keys.flight("lane", None).startswith("oo:flight:")
    assert keys.rate("name").startswith("oo:rate:name")


# Policies


def test_policies_are_tabled() -> None:
    """Each policy is in the table with its paths and the number of its features."""
    for row, policy in zip(marked(USE / "policies.md", "policies"), policies().values(), strict=True):
        paths = [f"/{verb}{policy.classic.route}" for verb in ("score", "reward", "stats")]
        assert unquoted([row[0], *row[1].split(", ")]) == [policy.id, *paths]
        assert f"(d = {policy.d})" in row[2]
        setting = "ALPHA" if hasattr(policy.explorer, "alpha") else "EPSILON"
        assert f"`{setting}`" in row[3]


def test_features_are_tabled() -> None:
    """The table of features has the columns of the largest policy, and each policy has the first of them."""
    shown = tuple(unquoted(row[0] for row in marked(USE / "policies.md", "features")))
    seen = [policy.labels for policy in policies().values()]
    assert {len(labels) for labels in seen} == {5, 7, 12}
    assert max(seen, key=len) == shown
    assert seen == [shown[: len(labels)] for labels in seen]


def test_the_kinds_of_features_are_tabled() -> None:
    """Each with the keys that it needs, and the columns that the example in its row makes."""
    rows = marked(USE / "policies.md", "kinds")
    kinds = {inspect.type_info(row).tag: row for row in get_args(AnyFeature)}  # type: ignore[attr-defined]
    assert unquoted(row[0] for row in rows) == list(kinds)
    for kind, keys_, columns, _ in rows:
        features = f"[features]\nx = {{ of = 'candidate', kind = '{kind.strip('`')}', {keys_.strip('`')} }}"
        policy = "[policies.p]\ncolumns = ['x']\nexplore = { by = 'igw', sharpness = 1 }"
        found = catalog(f"{features}\n{policy}").policies["p"].labels
        assert unquoted(columns.split(", ")) == list(found)


def test_explorers_are_tabled() -> None:
    """With the keys that each takes."""
    rows = marked(USE / "policies.md", "explorers")
    explorers = [catalog(EXPLORE.format(row[0].strip("`"))).policies["p"].explorer for row in rows]
    tabled: list[Explorer] = [EpsilonGreedy(0.1), UpperConfidence(0.2, 0.02), InverseGap(20.0), Thompson(0.5, 0.02)]
    assert explorers == tabled


def test_the_first_file_is_the_one_that_is_shown() -> None:
    """Ten lines, and each other file of the page is one that is read."""
    first, *others = [block.text for block in blocks((USE / "policies.md").read_text()) if block.language == "toml"]
    assert first == (USE / "push.toml").read_text()
    assert len(first.splitlines()) == 10
    for text in others:
        catalog(text)


# Events


def test_problems_are_those_of_the_code() -> None:
    """Each problem that docs/use/events.md explains is one that the consumers report."""
    text = (USE / "events.md").read_text()
    rows = table(text[text.index("\n| `problem` | what to do |") :])
    code = " ".join(path.read_text() for path in sorted((ROOT / "app/events").glob("*.py")))
    # What the code puts in: a subject, and a clause that only some have. The first row has messages of libraries.
    put_in = re.compile(r"\.\.\.|(?:dlq\.)?signals\.>|(?= and cannot be used)")
    parts = [part.strip(" :,") for row in rows[1:] for part in put_in.split(row[0].strip("`"))]
    assert len(parts) > 15
    assert [part for part in parts if part not in code] == []


if __name__ == "__main__":
    for name, (page, write) in WRITTEN.items():
        page.write_text(place_of(name).sub(f"{write()}\n".replace("\\", r"\\"), page.read_text()))


def test_commands_have_one_spelling() -> None:
    """`python -m app WORD` on every page: neither by another path of the interpreter nor by `./dev run`."""
    words = re.findall(r"^    (\w+)", said_by_help().partition("COMMAND\n")[2], re.MULTILINE)
    assert {"import", "show", "log", "key"} <= set(words)
    other = re.compile(rf"(?:\./dev run|[\w.]*/python3? -m app|python3 -m app) (?:{'|'.join(words)})\b")
    assert [(page.name, found[0]) for page in PAGES for found in other.finditer(page.read_text())] == []


def said_by_help() -> str:
    """What `python -m app --help` prints."""
    done = subprocess.run([sys.executable, "-m", "app", "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout
