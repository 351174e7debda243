"""The health of a loop's reward pipeline: when it is good enough to decide by the log, and how Redis holds it."""

import math
from collections.abc import Iterator
from datetime import datetime
from typing import Final

import msgspec

from app.evaluation.evidence import Evidence
from app.messages.pipeline import GatePoint, LoopHealth
from state import keys
from state.errors import CorruptState
from state.loops import health_of

__all__ = ["MOST_POINTS", "continued", "decode", "encode", "problems"]

# Runs of `judge` whose gates are remembered.
MOST_POINTS: Final = 100
# A share of so few decisions may be anything.
_FEWEST: Final = 100
_LONGEST_QUIET: Final = 24.0
# The join rate has fallen if it is below this part of what it was, and chance would do so once in 30,000 days.
_LEAST_JOINED: Final = 0.8
_FARTHEST_Z: Final = 4.0
_MOST_LATE: Final = 0.5
_MOST_LACKING: Final = 0.2

encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(LoopHealth).decode


def decode(loop: str, text: bytes) -> LoopHealth:
    """What `encode` made. Raises CorruptState."""
    try:
        return _decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptState(f"{keys.EVIDENCE} {health_of(loop)}", f"is not a health: {error}") from None


def problems(health: LoopHealth) -> Iterator[str]:
    """Why this log should not be used for decisions now; nothing if it is healthy."""
    day, before = health.day, health.before
    hours = (_seconds(health.at) - _seconds(health.as_of)) / 3_600.0
    if hours > _LONGEST_QUIET:
        yield f"the log ends {hours:.0f} hours before it was judged: is it still written?"
        return
    if not day.matured:
        yield "no window has closed in the last day of the log"
        return
    if not day.rewarded + before.rewarded:
        yield "no decision has found a reward: are they told with the decision's id?"
        return
    if min(day.matured, before.matured) >= _FEWEST:
        now, was = day.rewarded / day.matured, before.rewarded / before.matured
        both = (day.rewarded + before.rewarded) / (day.matured + before.matured)
        spread = math.sqrt(both * (1.0 - both) * (1.0 / day.matured + 1.0 / before.matured))
        if now < _LEAST_JOINED * was and was - now > _FARTHEST_Z * spread:
            yield f"only {now:.1%} of the decisions found a reward in the last day, and {was:.1%} in the week before"
    if day.rewarded >= _FEWEST and day.late > _MOST_LATE * day.rewarded:
        yield f"{day.late / day.rewarded:.0%} of the rewards came after the window: the gate does not count them"
    if sum(hour.decisions for hour in health.hours[-24:]) >= _FEWEST:
        for each in health.features:
            if each.day - each.before > _MOST_LACKING:
                shares = f"{each.day:.0%} of the last day's decisions, and in {each.before:.0%} of the week's before"
                yield f"the feature {each.feature} had no value in {shares}"


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


def continued(health: LoopHealth, evidence: Evidence, before: LoopHealth | None) -> LoopHealth:
    """With its problems, and with the gates of the `evidence` after those that were known `before`."""
    gates = {}
    for name, judged in evidence.policies.items():
        found = [] if before is None else [point for point in before.gates.get(name, []) if point.at < health.at]
        if (gate := judged.gate) is not None and not gate.refused:
            found.append(
                GatePoint(health.at, evidence.champion, gate.low, gate.high, gate.log_e_value, gate.n, gate.needed)
            )
        if found:
            gates[name] = found[-MOST_POINTS:]
    return msgspec.structs.replace(health, problems=list(problems(health)), gates=gates)
