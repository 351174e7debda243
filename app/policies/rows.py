"""What a policy file may say: its tables and keys, with their types and bounds."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.bandit import kinds
from app.bandit.columns import TIMES
from app.bandit.kinds import Kind
from app.bandit.nested import Nested
from app.policies.words import shown

__all__ = ["AnyFeature", "ByExplorer", "ClassicRow", "File", "LoopRow", "PolicyRow", "Range"]

Share = Annotated[float, Meta(ge=0, le=1)]
Finite = Annotated[float, Meta(ge=-1e12, le=1e12)]
Period = Annotated[float, Meta(ge=1e-6, le=1e12)]
Reward = Annotated[float, Meta(ge=-1e6, le=1e6)]
Text = Annotated[str, Meta(min_length=1, max_length=128)]
Scalar = Finite | Annotated[str, Meta(max_length=128)]


class FeatureRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    of: Literal["context", "user", "candidate"]
    field: Text | None = None
    default: Scalar | bool | list[Scalar] | None = None
    missing: Literal["column"] | None = None

    def made(self) -> Kind:
        """The kind that makes the columns. Raises ValueError, which says what does not fit."""
        raise NotImplementedError


class NumberRow(FeatureRow, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="number"):
    min: Finite
    max: Finite
    scale: Literal["linear", "log"] = "linear"

    def made(self) -> Kind:
        if not self.min < self.max:
            raise ValueError(f"min: takes a number below max, {self.max:g}, not {self.min:g}")
        return kinds.Number(self.min, self.max, self.scale == "log")


class FlagRow(FeatureRow, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="flag"):
    def made(self) -> Kind:
        return kinds.Flag()


class MemberRow(FeatureRow, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="member"):
    values: Annotated[list[Scalar], Meta(min_length=1, max_length=1_000)]

    def made(self) -> Kind:
        return kinds.Member(frozenset(self.values))


class CycleRow(FeatureRow, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="cycle"):
    period: Period

    def made(self) -> Kind:
        return kinds.Cycle(self.period)


class AlignmentRow(FeatureRow, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="alignment"):
    period: Period
    compared: Text = msgspec.field(name="with")

    def made(self) -> Kind:
        return kinds.Alignment(self.period)


class BinsRow(FeatureRow, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="bins"):
    edges: Annotated[list[Finite], Meta(min_length=1, max_length=64)]

    def made(self) -> Kind:
        if sorted(set(self.edges)) != self.edges:
            raise ValueError("edges: takes numbers that ascend, each once")
        return kinds.Bins(tuple(self.edges))


class CategoryRow(FeatureRow, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="category"):
    values: Annotated[list[Scalar], Meta(min_length=1, max_length=256)]

    def made(self) -> Kind:
        made = kinds.Category(tuple(self.values))
        if len(set(made.endings)) != len(self.values):
            raise ValueError("values: takes values that differ, and not a number and its text")
        for value in self.values:
            if isinstance(value, str) and (TIMES in value or not value.isprintable()):
                raise ValueError(f"values: takes text of printable characters without {TIMES}, not {shown(value)}")
        return made


class HashRow(FeatureRow, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="hash"):
    buckets: Annotated[int, Meta(ge=2, le=256)]

    def made(self) -> Kind:
        return kinds.Hash(self.buckets)


class VectorRow(FeatureRow, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="vector"):
    size: Annotated[int, Meta(ge=1, le=256)]

    def made(self) -> Kind:
        return kinds.Vector(self.size)


class NestedRow(FeatureRow, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="nested"):
    buckets: Annotated[int, Meta(ge=2, le=256)]
    compared: Text | None = msgspec.field(name="with", default=None)

    def made(self) -> Kind:
        return Nested(self.buckets)


AnyFeature = (
    NumberRow | FlagRow | MemberRow | CycleRow | AlignmentRow | BinsRow | CategoryRow | HashRow | VectorRow | NestedRow
)


class Explore(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="by"):
    """How a policy explores."""


class ByEpsilon(Explore, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="epsilon"):
    epsilon: Share


class ByLinucb(Explore, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="linucb"):
    alpha: Annotated[float, Meta(ge=0, le=1_000)]
    floor: Share = 0.0


class ByThompson(Explore, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="thompson"):
    scale: Annotated[float, Meta(gt=0, le=1_000)]
    floor: Share = 0.0


class ByIgw(Explore, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="igw"):
    sharpness: Annotated[float, Meta(gt=0, le=1e9)]


ByExplorer = ByEpsilon | ByLinucb | ByThompson | ByIgw


class ClassicRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    route: str
    suffix: str
    tells_exploration: bool = False
    role: str = ""


Column = Annotated[str, Meta(min_length=1, max_length=512)]
ColumnList = Annotated[list[Column], Meta(min_length=1, max_length=256)]


class PolicyRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    explore: ByExplorer
    columns: ColumnList = msgspec.field(default_factory=list)
    cross: Annotated[list[ColumnList], Meta(max_length=8)] = msgspec.field(default_factory=list)
    forget: Annotated[float, Meta(ge=0.5, le=1)] = 1.0
    prior: Literal["plain", "population"] = "plain"
    reward_baseline: Reward = 0.0
    classic: ClassicRow | None = None


class Range(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The least and the most that a reward may be."""

    min: Reward = -1.0
    max: Reward = 1.0


class LoopRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    champion: Text
    shadows: Annotated[list[Text], Meta(max_length=16)] = msgspec.field(default_factory=list)
    window: Text = "24h"
    reward: Range = Range()
    default_reward: Reward | None = None
    missing: Reward | UnsetType = UNSET
    late: Literal["correct", "discard"] = "correct"
    aggregation: Literal["first", "sum"] = "first"
    open_max: Annotated[int, Meta(ge=1, le=1_000_000)] = 256
    unknown_features: Literal["keep", "refuse"] = "keep"


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A policy file, each of its tables by name."""

    features: dict[str, AnyFeature]
    policies: dict[str, PolicyRow]
    loops: dict[str, LoopRow]
