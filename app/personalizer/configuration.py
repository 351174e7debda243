"""How an application of Azure Personalizer's clients learns: its configuration, what may be changed, and how it is
kept."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from app.decisions.asked import Conditions
from app.messages.personalizer import Learning, PolicyConfiguration, ServiceChange, ServiceConfiguration
from app.personalizer import times
from app.personalizer.errors import Refusal
from state.errors import CorruptState
from state.values.decision import Terms

__all__ = ["Configuration", "changed", "conditions", "decode", "encode", "shown"]

_DAY: Final = 86_400
_WAITS: Final = (5, 6 * _DAY)
# Rewards that add up have at most 64 parts of -1 to 1.
_MOST_SUM: Final = 64.0
_Seconds = Annotated[int, Meta(ge=0, le=100_000 * 604_800)]


class Configuration(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The settings that were chosen; the defaults are those of Azure Personalizer.

    Rewards come within `wait` seconds of the rank; silence counts as `default`; several are one by `aggregation`.
    `exploration` is the share of decisions that any action may get. `edited` is when it was changed (ms). `policy`,
    `export`, `log_days` and `retrain_days` are only kept and shown.
    """

    wait: Annotated[int, Meta(ge=_WAITS[0], le=_WAITS[1])] = 600
    default: Annotated[float, Meta(ge=-1, le=1)] = 0.0
    aggregation: Literal["earliest", "sum"] = "earliest"
    exploration: Annotated[float, Meta(ge=0, le=1)] = 0.2
    mode: Learning = "Online"
    export: _Seconds = 300
    log_days: int = 90
    retrain_days: int = 0
    edited: Annotated[int, Meta(ge=0)] = 0
    policy: PolicyConfiguration | None = None


encode: Final[Any] = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Configuration).decode


def decode(where: str, text: bytes | None) -> Configuration:
    """The configuration in `text`, or the defaults without one. Raises CorruptState, which names `where`."""
    try:
        return Configuration() if text is None else _decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptState(where, f"is not a configuration: {error}") from None


def conditions(configuration: Configuration, baselines: Mapping[str, str]) -> Conditions:
    """The settings under which decisions are made: a change holds for later decisions. An apprentice shows the
    `baselines`, by the ids of slots."""
    adds = configuration.aggregation == "sum"
    most = _MOST_SUM if adds else 1.0
    return Conditions(
        terms=Terms(-most, most, configuration.default, discards=True, adds=adds),
        window=configuration.wait * 1_000,
        floor=configuration.exploration,
        teaches=configuration.mode == "Online",
        shown=baselines if configuration.mode == "Apprentice" else {},
    )


def shown(configuration: Configuration) -> ServiceConfiguration:
    """The configuration as their clients see it."""
    return ServiceConfiguration(
        reward_wait_time=times.duration(configuration.wait),
        default_reward=configuration.default,
        reward_aggregation=configuration.aggregation,
        exploration_percentage=configuration.exploration,
        model_export_frequency=times.duration(configuration.export),
        log_mirror_enabled=False,
        log_retention_days=configuration.log_days,
        last_configuration_edit_date=times.moment(configuration.edited),
        learning_mode=configuration.mode,
        is_auto_optimization_enabled=False,
        model_retrain_days=configuration.retrain_days,
    )


def changed(before: Configuration, wanted: ServiceChange, now: int) -> Configuration:
    """The configuration after a change at `now` (ms). Raises Refusal."""
    for name, value in (
        ("logMirrorEnabled", wanted.log_mirror_enabled),
        ("isAutoOptimizationEnabled", wanted.is_auto_optimization_enabled),
    ):
        if value is True:
            raise Refusal("InvalidServiceConfiguration", f"{name}: takes false, this service has nothing of the kind")
    export = before.export
    if wanted.model_export_frequency is not None:
        found = times.seconds(wanted.model_export_frequency)
        if found is None:
            raise Refusal("InvalidServiceConfiguration", "modelExportFrequency: takes a duration such as PT5M")
        export = found
    after = replace(
        before,
        wait=_wait(before, wanted),
        default=_or(wanted.default_reward, before.default),
        aggregation=_or(wanted.reward_aggregation, before.aggregation),
        exploration=_or(wanted.exploration_percentage, before.exploration),
        mode=_or(wanted.learning_mode, before.mode),
        export=export,
        log_days=_or(wanted.log_retention_days, before.log_days),
        retrain_days=_or(wanted.model_retrain_days, before.retrain_days),
        edited=now,
    )
    if after.mode != before.mode and _rewards(after) != _rewards(before):
        raise Refusal(
            "InvalidLearningModeServiceConfiguration",
            "learningMode: cannot change together with rewardWaitTime, defaultReward or rewardAggregation; change one "
            "after the other",
        )
    return after


def _wait(before: Configuration, wanted: ServiceChange) -> int:
    if wanted.reward_wait_time is None:
        return before.wait
    least, most = _WAITS
    found = times.seconds(wanted.reward_wait_time)
    if found is None or not least <= found <= most:
        raise Refusal("InvalidRewardWaitTime", "rewardWaitTime: takes a duration such as PT10M, from PT5S to P6D")
    return found


def _or(wanted: Any, before: Any) -> Any:
    """The wanted value, or the present one if none is wanted."""
    return before if wanted is None else wanted


def _rewards(configuration: Configuration) -> tuple[int, float, str]:
    return configuration.wait, configuration.default, configuration.aggregation
