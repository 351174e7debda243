"""The parts of a log: an hour of lines of one kind as a Parquet file, which any engine reads, and DuckDB writes.

A part has a column for each field that reports use, and the whole line as JSON text in the column `line`. The folders
are named after the hour in UTC, in the layout of Hive: `decisions/date=2026-11-28/hour=09/part-0.parquet`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from app.decision_log.place import PlaceError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = [
    "KINDS",
    "NAME",
    "MissingExtra",
    "columns",
    "engine",
    "folder_of",
    "part_lines",
    "parts",
    "staged",
    "text",
    "told",
]

KINDS: Final = ("decisions", "outcomes", "states")
NAME: Final = "part-0.parquet"
_MEMORY: Final = "512MB"
_ROWS: Final = 1_000
# For each kind of line how JSON becomes typed fields of `j`, and from which of them the columns are made.
_COMMON: Final = {"user": "VARCHAR", "epoch": "VARCHAR", "seq": "BIGINT", "ts": "TIMESTAMP", "loop": "VARCHAR"}
_FIELDS: Final[Mapping[str, Mapping[str, Any]]] = {
    "decisions": _COMMON
    | {"id": "VARCHAR", "policy": "VARCHAR", "arm": "VARCHAR", "champion": "VARCHAR", "canary": "VARCHAR"}
    | {"share": "DOUBLE", "versions": "MAP(VARCHAR, VARCHAR)", "state": "BIGINT", "candidates": [{"id": "VARCHAR"}]}
    | {"propensities": ["DOUBLE"], "chosen": "INTEGER", "propensity": "DOUBLE", "score": "DOUBLE"}
    | {"by_policy": "MAP(VARCHAR, DOUBLE[])", "excluded": ["INTEGER"], "window_s": "BIGINT"}
    | {"default_reward": "DOUBLE", "deferred": "BOOLEAN", "explored": "BOOLEAN", "context": "JSON"}
    | {"user_features": "JSON"},
    "outcomes": _COMMON
    | {"id": "VARCHAR", "born": "BIGINT", "n": "BIGINT", "decided": "TIMESTAMP", "what": "VARCHAR", "part": "VARCHAR"}
    | {"reward": "DOUBLE", "total": "DOUBLE", "late": "BOOLEAN", "learned": ["VARCHAR"]},
    "states": _COMMON | {"what": "VARCHAR", "user_hash": "VARCHAR", "policy": "VARCHAR", "reward": "DOUBLE"},
}
_MADE: Final[Mapping[str, Mapping[str, str]]] = {
    "decisions": {
        "champion": "coalesce(j.champion, j.policy)",
        "share": "coalesce(j.share, 0.0)",
        "versions": "map_values(j.versions)",
        "candidates": "[c.id for c in j.candidates]",
        "score": "coalesce(j.score, 0.0)",
        "by_policy": "map_values(j.by_policy)",
        "excluded": "coalesce(j.excluded, []::INTEGER[])",
        "explored": "coalesce(j.explored, false)",
        # As plain texts: not every engine knows the type JSON.
        "context": "j.context::VARCHAR",
        "user_features": "j.user_features::VARCHAR",
        # Beside the lists of lists: whose they are.
        "policies": "map_keys(j.by_policy)",
        "versioned": "map_keys(j.versions)",
        "candidate": "j.candidates[j.chosen + 1].id",
    },
    "outcomes": {"part": "coalesce(j.part, '')"},
    "states": {},
}


class MissingExtra(Exception):
    """DuckDB is not installed. The message is one line that says how to install it."""


def engine(folder: Path | None = None) -> "DuckDBPyConnection":
    """DuckDB in bounded memory; what does not fit, and its tables, are in files of `folder`. Raises MissingExtra."""
    if find_spec("duckdb") is None:
        raise MissingExtra(
            "parts of a log need duckdb, which is not installed: './dev setup' installs it, or pip install '.[log]' in "
            "the checkout"
        )
    import duckdb  # noqa: PLC0415  # an extra

    base = duckdb.connect(":memory:" if folder is None else str(folder / "tables.duckdb"))
    base.execute(f"SET memory_limit = '{_MEMORY}'; SET threads = 1; SET enable_progress_bar = false")
    # DuckDB must not fetch anything from the network.
    base.execute("SET autoinstall_known_extensions = false; SET autoload_known_extensions = false")
    if folder is not None:
        base.execute(f"SET temp_directory = {text(folder / 'spilled')}")
    return base


@contextmanager
def told() -> Iterator[None]:
    """A block in which DuckDB's errors, such as for a damaged part, become PlaceError with their first line."""
    import duckdb  # noqa: PLC0415  # an extra

    try:
        yield
    except duckdb.Error as error:
        raise PlaceError(f"DuckDB: {str(error).splitlines()[0]}") from None


def text(value: object) -> str:
    """A value as a text in SQL."""
    return "'" + str(value).replace("'", "''") + "'"


def folder_of(kind: str, ts: str) -> str:
    """Where the part of a line of `kind` at the moment `ts` is, below the directory."""
    return f"{kind}/date={ts[:10]}/hour={ts[11:13]}"


def parts(directory: Path, kind: str) -> list[Path]:
    """The parts of a kind, in the order of their hours."""
    return sorted(directory.glob(f"{kind}/date=*/hour=*/{NAME}"))


def columns(kind: str) -> list[str]:
    """The columns of a kind's parts."""
    return [*dict.fromkeys((*_FIELDS[kind], *_MADE[kind])), "line"]


def staged(kind: str, lines: Path) -> str:
    """The SELECT that makes the columns of lines in a file."""
    structure = text(msgspec.json.encode(_FIELDS[kind]).decode())
    made = {name: f'j."{name}"' for name in _FIELDS[kind]} | dict(_MADE[kind])
    named = ", ".join(f'{made[name]} AS "{name}"' for name in columns(kind)[:-1])
    return (
        f"SELECT {named}, line FROM (SELECT json::VARCHAR AS line, json_transform(json, {structure}) AS j "  # noqa: S608
        f"FROM read_ndjson_objects({text(lines)}))"
    )


def part_lines(directory: Path, since: str = "") -> Iterator[tuple[str, bytes]]:
    """The lines in the parts from the hour of a moment on, each with its file's name.

    Raises PlaceError, and MissingExtra if there are parts.
    """
    found = [
        path
        for kind in KINDS
        for path in parts(directory, kind)
        if str(path.parent.relative_to(directory)) >= (folder_of(kind, since) if since else "")
    ]
    if not found:
        return
    with engine() as base, told():
        for path in found:
            asked = base.execute(f"SELECT line FROM read_parquet({text(path)}, hive_partitioning = false)")  # noqa: S608
            while rows := asked.fetchmany(_ROWS):
                for (line,) in rows:
                    yield str(path), line.encode()
