"""What the messages of all APIs share: the rule for user ids, bounds of numbers, and the answer to an error."""

import sys
from typing import Annotated, Any

import msgspec
from msgspec import Meta

__all__ = ["ErrorAnswer", "Finite", "Hour", "Ok", "Priority", "Profile", "Time", "TipId", "UserId", "Weekday"]

Hour = Annotated[int, Meta(ge=0, le=23)]
Weekday = Annotated[int, Meta(ge=0, le=6)]
Priority = Annotated[int, Meta(ge=1, le=4)]
Finite = Annotated[float, Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
UserId = Annotated[str, Meta(min_length=1, max_length=256)]
TipId = Annotated[str, Meta(max_length=256)]
Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
Profile = Annotated[dict[str, Any], Meta(extra_json_schema={"$ref": "#/components/schemas/ProfileFeatures"})] | None


class Ok(msgspec.Struct, frozen=True):
    """Done."""

    ok: bool = True


class ErrorAnswer(msgspec.Struct, frozen=True):
    """The reason, in one sentence."""

    detail: str
