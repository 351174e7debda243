"""What Polars and pyarrow make of the parts of a log, as JSON: `python read_parts.py DIRECTORY`. See test_engines.py.

Each reads whole folders, with what their names say, and is asked in its own words: for the sums of each hour and
policy, and for what each policy would have earned (inverse propensity).
"""

import json
import sys
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

KEYS = ("date", "hour", "loop", "policy")
JOINED = ("user", "epoch", "seq")


def by_polars(directory: str, cells: list[str]) -> tuple[Any, Any]:
    """What Polars finds."""

    def parts(kind: str) -> pl.LazyFrame:
        path = f"{directory}/{kind}/**/*.parquet"
        return pl.scan_parquet(path, hive_schema={"date": pl.String, "hour": pl.String})

    sums = parts("sums").group_by(KEYS).agg(pl.col(cells).sum()).collect()
    told = parts("outcomes").sort("seq").group_by("user", "epoch", pl.col("born").alias("seq"))
    each = parts("decisions").join(told.agg(pl.col("total").last()), on=JOINED)
    each = each.select("chosen", "propensity", "total", "policies", "by_policy").explode("policies", "by_policy")
    share = pl.col("by_policy").list.get(pl.col("chosen")) / pl.col("propensity")
    earned = each.group_by("policies").agg((share * pl.col("total")).sum()).collect()
    return sums.select(*KEYS, *cells).rows(), dict(earned.rows())


def by_pyarrow(directory: str, cells: list[str]) -> tuple[Any, Any]:
    """What pyarrow finds."""
    named = ds.partitioning(pa.schema([("date", pa.string()), ("hour", pa.string())]), flavor="hive")

    def parts(kind: str) -> pa.Table:
        return ds.dataset(f"{directory}/{kind}", format="parquet", partitioning=named).to_table()

    sums = parts("sums").group_by(KEYS).aggregate([(name, "sum") for name in cells])
    last = parts("outcomes").group_by(["user", "epoch", "born"]).aggregate([("seq", "max")])
    outcomes = parts("outcomes").select(["user", "epoch", "born", "seq", "total"])
    told = last.rename_columns({"seq_max": "seq"}).join(outcomes, ["user", "epoch", "born", "seq"])
    told = told.drop_columns("seq").rename_columns({"born": "seq"})
    made = parts("decisions").select([*JOINED, "chosen", "propensity", "policies", "by_policy"])
    names, lists = made["policies"].combine_chunks(), made["by_policy"].combine_chunks()
    each = made.drop_columns(["policies", "by_policy"]).take(pc.list_parent_indices(names))
    shares = lists.flatten()  # one list of probabilities for each decision and policy
    places = pc.add(shares.offsets[:-1], each["chosen"].combine_chunks())
    share = pc.divide(shares.values.take(places), each["propensity"].combine_chunks())
    each = (
        each.append_column("policy", names.flatten())
        .append_column("share", share)
        .join(told, list(JOINED), join_type="inner")
    )
    each = each.append_column("earned", pc.multiply(each["share"], each["total"]))
    earned = each.group_by("policy").aggregate([("earned", "sum")])
    rows = [list(row.values()) for row in sums.select([*KEYS, *(f"{name}_sum" for name in cells)]).to_pylist()]
    return rows, {row["policy"]: row["earned_sum"] for row in earned.to_pylist()}


if __name__ == "__main__":
    directory, cells = sys.argv[1], sys.argv[2:]
    print(json.dumps({"polars": by_polars(directory, cells), "pyarrow": by_pyarrow(directory, cells)}))
