"""Sums of an hour's decisions, for each state of a loop and each of its policies: what reports and the gate are made
from, so that they need not read decisions again."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from app.bandit.ridge import Matrix, Vector
from app.evaluation.logged import Ints, Logged, user_code
from app.evaluation.sums import COLUMNS, Sums, merged, reduced
from app.log_reading.parts import NAME, text
from app.policies.loop import Loop

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = ["DRAWN", "KEYS", "beside", "stored", "summed"]

# Stands in place of a policy for the distribution that was drawn from, which with a canary is a mixture.
DRAWN: Final = ""

# The keys of a row of sums, which stand before its `COLUMNS`.
KEYS: Final = {
    "loop": "VARCHAR",
    "state": "BIGINT",
    "champion": "VARCHAR",
    "champion_version": "VARCHAR",
    "policy": "VARCHAR",
    "policy_version": "VARCHAR",
    "canary_share": "DOUBLE",
    "bucket": "UTINYINT",
}
_CHUNK: Final = 50_000
# The columns that the gate reads. They are 0 after the first open decision.
_GATE: Final = [COLUMNS.index(name) for name in ("gate_n", "gate_lost", "share", "d", "d2", "u", "u2", "broken")]
_OPEN: Final = COLUMNS.index("open")
# As joined.Told says of one decision what stands, what stood at the deadline, and whether it was shown.
_JOINED: Final = """
CREATE OR REPLACE TABLE told AS
WITH made AS (
    SELECT * EXCLUDE (line, context, user_features), ts + to_seconds(window_s) AS deadline
    FROM read_parquet({decisions})
),
ends AS (
    SELECT made."user", made.epoch, made.seq,
        arg_max({{'is': o.total}}, o.seq) AS total,
        arg_max({{'is': o.total}}, o.seq) FILTER (WHERE o.ts < deadline OR o.what = 'default') AS in_time,
        bool_or(o.what IN ('cancelled', 'expired')) AS void,
        bool_or(o.what = 'activated') AS activated
    FROM made JOIN {outcomes} o ON o."user" = made."user" AND o.epoch = made.epoch AND o.born = made.seq
    GROUP BY ALL
)
SELECT made.*, ends.total.is AS total, ends.in_time.is AS in_time, coalesce(ends.void, false) AS void,
    coalesce(NOT made.deferred OR ends.activated, false) AS shown,
    coalesce(versions[list_position(versioned, champion)], '') AS champion_version
FROM made LEFT JOIN ends USING ("user", epoch, seq)
ORDER BY ts, "user", epoch, seq
"""
_NO_OUTCOMES: Final = (
    "(SELECT NULL::VARCHAR AS user, NULL::VARCHAR AS epoch, 0 AS born, 0 AS seq, NULL::TIMESTAMP AS ts, "
    "'' AS what, NULL::DOUBLE AS total LIMIT 0)"
)
_GROUP: Final = ("loop", "state", "champion", "champion_version", "share")


def summed(
    directory: Path, hour: str, base: "DuckDBPyConnection", loops: Mapping[str, Loop], *, now: int, written: Path
) -> int | None:
    """Write the sums of an hour (`date=2026-11-28/hour=09`), as of `now` (ms since 1970), to the file `written`.

    Returns when the last of its windows closes (ms since 1970); None if the hour has no decisions. Loops that
    are not among `loops` have rewards from -1 to 1, in which silence does not count.
    """
    decisions, outcomes = (directory / kind / hour / NAME for kind in ("decisions", "outcomes"))
    if not decisions.exists():
        return None
    known = f"read_parquet({text(outcomes)})" if outcomes.exists() else _NO_OUTCOMES
    base.execute(_JOINED.format(decisions=text(decisions), outcomes=known))
    named = ", ".join(f"{name} {kind}" for name, kind in KEYS.items())
    cells = ", ".join(f'"{name}" DOUBLE' for name in COLUMNS)
    base.execute(f"CREATE OR REPLACE TABLE sums ({named}, {cells})")
    groups = base.execute(f"SELECT DISTINCT {', '.join(_GROUP)} FROM told ORDER BY ALL").fetchall()  # noqa: S608
    for group in groups:
        _add(base, dict(zip(_GROUP, group, strict=True)), loops, now)
    base.execute(f"COPY (SELECT * FROM sums) TO {text(written)} (FORMAT parquet, COMPRESSION zstd)")  # noqa: S608
    [[last]] = base.execute("SELECT epoch_ms(max(deadline)) FROM told").fetchall()
    return int(last)


def _add(base: "DuckDBPyConnection", group: Mapping[str, Any], loops: Mapping[str, Loop], now: int) -> None:
    """Add the rows of one state of a loop."""
    where = " AND ".join(f"{name} = ${name}" for name in _GROUP)
    base.execute(
        f"CREATE OR REPLACE TABLE part AS SELECT *, row_number() OVER () - 1 AS nth FROM told WHERE {where}",  # noqa: S608
        dict(group),
    )
    policies = base.execute(
        "SELECT DISTINCT policy, coalesce(versions[list_position(versioned, policy)], '') AS version "
        "FROM (SELECT unnest(policies) AS policy, versions, versioned FROM part) ORDER BY ALL"
    ).fetchall()
    found: dict[tuple[str, str], list[Sums]] = {pair: [] for pair in [(DRAWN, ""), *policies]}
    closed = True  # whether no decision so far is open
    for logged, versions in _logged(base, group, loops.get(group["loop"]), now):
        opened = False
        for (policy, version), parts in found.items():
            target = logged.propensities
            if policy != DRAWN:
                of_version = np.repeat(versions[policy] == version, np.diff(logged.starts))
                target = np.where(of_version, logged.by_policy[policy], np.nan)
            sums = reduced(logged, target, by="bucket")
            opened = opened or bool(sums.cells[:, _OPEN].any())
            if not closed:
                sums.cells[:, _GATE] = 0.0
            parts.append(sums)
        closed = closed and not opened
    # The rows of a policy by column, in one statement: by rows it takes ten times as long.
    insert = f"INSERT INTO sums SELECT {', '.join(['?'] * (len(KEYS) - 1) + ['unnest(?)'] * (1 + len(COLUMNS)))}"
    for (policy, version), parts in found.items():
        sums = merged(parts)
        scored = sums.era >= 0
        if scored.any():
            keys = [*(group[name] for name in _GROUP[:4]), policy, version, group["share"]]
            base.execute(insert, [*keys, sums.cluster[scored].tolist(), *sums.cells[scored].T.tolist()])


def _logged(
    base: "DuckDBPyConnection", group: Mapping[str, Any], loop: Loop | None, now: int
) -> Iterator[tuple[Logged, dict[str, Any]]]:
    """The decisions of the table `part`, some at a time; and each policy's version at each of them."""
    [[count]] = base.execute("SELECT count(*) FROM part").fetchall()
    names = [name for (name,) in base.execute("SELECT DISTINCT unnest(policies) FROM part ORDER BY ALL").fetchall()]
    low, high, missing = (-1.0, 1.0, None) if loop is None else (loop.low, loop.high, loop.missing)
    for begin in range(0, count, _CHUNK):
        # Sorted before lists become rows: among the rows of one decision a sort would be free to choose.
        chunk = f"FROM (FROM part WHERE nth >= {begin} AND nth < {begin + _CHUNK} ORDER BY nth)"
        versions = ", ".join(
            f"coalesce(versions[list_position(versioned, {text(name)})], '') AS \"v{place}\""
            for place, name in enumerate(names)
        )
        rows = base.execute(
            f'SELECT "user", chosen, total, in_time, NOT void AND shown AS shown, len(propensities) AS size, '
            f"(epoch_ms(deadline) <= {now} OR void) AND (shown OR void) AS matured, "
            f"epoch_ms(ts) // 3600000 AS hour, {versions} {chunk}"
        ).fetchnumpy()
        shares = ", ".join(
            f'unnest(by_policy[list_position(policies, {text(name)})]) AS "p{place}"'
            for place, name in enumerate(names)
        )
        each = base.execute(f"SELECT unnest(propensities) AS h, {shares} {chunk}").fetchnumpy()
        n, m = len(rows["chosen"]), len(each["h"])
        codes = {user: user_code(user) for user in set(rows["user"])}
        yield (
            Logged(
                champion=group["champion"],
                starts=np.concatenate(([0], np.cumsum(rows["size"]))).astype(np.int64),
                propensities=_plain(each["h"]),
                by_policy={name: _plain(each[f"p{place}"]) for place, name in enumerate(names)},
                chosen=rows["chosen"].astype(np.int64),
                reward=_plain(rows["total"]),
                reward_in_time=_plain(rows["in_time"]),
                user=np.array([codes[user] for user in rows["user"]], np.uint64),
                hour=rows["hour"].astype(np.int64),
                matured=np.asarray(rows["matured"], np.bool_),
                shown=np.asarray(rows["shown"], np.bool_),
                eras={},
                share=np.full(n, group["share"]),
                excluded=np.zeros(m, np.bool_),
                context=_none(n),
                features=_none(m),
                low=low,
                high=high,
                missing=missing,
            ),
            {name: np.asarray(rows[f"v{place}"]) for place, name in enumerate(names)},
        )


def _plain(column: Any) -> Vector:
    """Numbers, nan for what is missing."""
    return np.asarray(np.ma.filled(np.ma.asarray(column, np.float64), np.nan), np.float64)


def _none(count: int) -> Matrix:
    return np.zeros((count, 0))


def beside(directory: Path, base: "DuckDBPyConnection", loop: str) -> tuple[str, list[str]] | None:
    """The champion that served a loop last, and the policies that were ever scored beside it, `DRAWN` among them if its
    sums are there; None without sums."""
    if not any(directory.glob(f"sums/date=*/hour=*/{NAME}")):
        return None
    read = (
        f"FROM read_parquet({text(directory / 'sums/*/*' / NAME)}, hive_partitioning = true, "
        "hive_types_autocast = false) WHERE loop = $loop"
    )
    last = base.execute(f"SELECT champion {read} ORDER BY date DESC, hour DESC, state DESC LIMIT 1", {"loop": loop})
    if (row := last.fetchone()) is None:
        return None
    asked = {"loop": loop, "champion": row[0]}
    names = base.execute(f"SELECT DISTINCT policy {read} AND champion = $champion ORDER BY policy", asked).fetchall()
    return row[0], [name for (name,) in names]


def stored(directory: Path, base: "DuckDBPyConnection", loop: str, champion: str, policy: str) -> Sums | None:
    """The sums of a policy, or of `DRAWN`, beside a champion in all hours; None if there are none.

    A new era begins with another state of the loop, another version of either, or another share of the canary, in the
    order of the states.
    """
    if not any(directory.glob(f"sums/date=*/hour=*/{NAME}")):
        return None
    era = "dense_rank() OVER (ORDER BY state, first_hour, champion_version, policy_version, canary_share) - 1 AS era"
    keys = "state, champion_version, policy_version, canary_share"
    cells = ", ".join(f'"{name}"' for name in COLUMNS)
    found = base.execute(
        f"SELECT hours, era, bucket, {cells} FROM (SELECT *, {era} FROM ("  # noqa: S608
        f"SELECT *, min(hours) OVER (PARTITION BY {keys}) AS first_hour FROM ("
        f"SELECT *, epoch_ms(date::TIMESTAMP) // 3600000 + hour::BIGINT AS hours "
        f"FROM read_parquet({text(directory / 'sums/*/*' / NAME)}, hive_partitioning = true, "
        "hive_types_autocast = false) WHERE loop = ? AND champion = ? AND policy = ?))) ORDER BY hours, era, bucket",
        [loop, champion, policy],
    ).fetchnumpy()
    if not len(found["hours"]):
        return None
    ints: list[Ints] = [np.asarray(found[name], np.int64) for name in ("hours", "era")]
    cells_of = np.stack([_plain(found[name]) for name in COLUMNS], axis=1)
    return Sums(hour=ints[0], era=ints[1], cluster=found["bucket"].astype(np.uint64), cells=cells_of, by="bucket")
