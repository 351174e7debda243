"""The parts of a log are for any engine: Polars and pyarrow read the same as DuckDB, in their own words."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from app.evaluation.sums import COLUMNS
from app.log_reading.compact import compact
from app.log_reading.parts import engine
from app.policies.catalog import catalog
from tests.support.environments import python_environment
from tests.support.processes import ROOT
from tests.support.waiting import PATIENCE_SECONDS
from tests.unit.app.judging.world import POLICIES, made, written

HERE = ROOT / "tests" / "engines"
KEYS = ("date", "hour", "loop", "policy")
# What docs/use/log.md asks hour by hour.
EARNED = """
WITH told AS (
    SELECT "user", epoch, born AS seq, arg_max(total, o.seq) AS reward
    FROM read_parquet('{0}/outcomes/*/*/*.parquet') o GROUP BY ALL
)
SELECT policy, sum(share / propensity * reward) FROM (
    SELECT unnest(policies) AS policy, unnest([p[chosen + 1] for p in by_policy]) AS share, propensity, reward
    FROM read_parquet('{0}/decisions/*/*/*.parquet') JOIN told USING ("user", epoch, seq)
) GROUP BY ALL
"""


def test_engines_agree(tmp_path: Path) -> None:
    """On the sums of each hour and policy (nan where no sum can tell), and on what each would have earned."""
    log = written(tmp_path, made().lines)
    compact(log, print, lambda *_: None, loops=catalog(POLICIES).loops, now=10**13)
    cells = ", ".join(f'sum("{name}")' for name in COLUMNS)
    with engine() as base:
        sums = base.execute(
            f"SELECT {', '.join(KEYS)}, {cells} FROM read_parquet('{log}/sums/*/*/*.parquet', "
            "hive_partitioning = true, hive_types_autocast = false) GROUP BY ALL"
        ).fetchall()
        earned = dict(base.execute(EARNED.format(log)).fetchall())
    assert len(sums) == 24 * 3
    assert earned["sighted"] > earned["blind"]
    python = python_environment("engines-venv", HERE / "requirements.lock") / "python"
    words = [str(word) for word in (python, HERE / "read_parts.py", log, *COLUMNS)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    for name, (rows, of_policies) in json.loads(done.stdout).items():
        assert of_policies == pytest.approx(earned, rel=1e-12), name
        assert _by_key(rows) == {
            key: pytest.approx(row, rel=1e-12, abs=1e-12, nan_ok=True) for key, row in _by_key(sums).items()
        }, name


def _by_key(rows: Any) -> dict[tuple[str, ...], list[float]]:
    return {tuple(row[: len(KEYS)]): list(row[len(KEYS) :]) for row in rows}
