"""The configuration of an application: its defaults, its changes, its bytes."""

from typing import Any

import msgspec
import pytest

from app.messages.personalizer import ServiceChange
from app.personalizer.configuration import Configuration, changed, conditions, decode, encode, shown
from app.personalizer.errors import Refusal
from state.errors import CorruptState

PLAIN = Configuration()


def change(before: Configuration = PLAIN, **wanted: Any) -> Configuration:
    return changed(before, msgspec.convert(wanted, ServiceChange), 1_795_438_044_000)


def test_defaults() -> None:
    """Those of their service, as their clients see them."""
    assert msgspec.to_builtins(shown(decode("k", None))) == {
        "rewardWaitTime": "PT10M",
        "defaultReward": 0.0,
        "rewardAggregation": "earliest",
        "explorationPercentage": 0.2,
        "modelExportFrequency": "PT5M",
        "logMirrorEnabled": False,
        "logRetentionDays": 90,
        "lastConfigurationEditDate": "1970-01-01T00:00:00Z",
        "learningMode": "Online",
        "isAutoOptimizationEnabled": False,
        "modelRetrainDays": 0,
    }


def test_a_change_keeps_what_it_does_not_name() -> None:
    """And what is null; it can be written and read."""
    after = change(rewardWaitTime="PT1H", explorationPercentage=0.1, learningMode=None, logMirrorEnabled=False)
    assert (after.wait, after.exploration, after.mode, after.default) == (3_600, 0.1, "Online", 0.0)
    assert decode("k", encode(after)) == after
    assert shown(after).last_configuration_edit_date == "2026-11-23T12:47:24Z"


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("InvalidRewardWaitTime", {"rewardWaitTime": "PT4S"}),
        ("InvalidRewardWaitTime", {"rewardWaitTime": "P6DT1S"}),
        ("InvalidRewardWaitTime", {"rewardWaitTime": "soon"}),
        ("InvalidServiceConfiguration", {"modelExportFrequency": "soon"}),
        ("InvalidServiceConfiguration", {"logMirrorEnabled": True}),
        ("InvalidServiceConfiguration", {"isAutoOptimizationEnabled": True}),
        ("InvalidLearningModeServiceConfiguration", {"learningMode": "Apprentice", "defaultReward": 0.5}),
        ("InvalidLearningModeServiceConfiguration", {"learningMode": "LoggingOnly", "rewardWaitTime": "PT5S"}),
        ("InvalidLearningModeServiceConfiguration", {"learningMode": "Apprentice", "rewardAggregation": "sum"}),
    ],
)
def test_what_cannot_be(code: str, wanted: dict[str, Any]) -> None:
    """By the codes of their contract."""
    with pytest.raises(Refusal) as refused:
        change(**wanted)
    assert (refused.value.code, refused.value.status) == (code, 400)


def test_the_mode_alone_may_change() -> None:
    """Also if the rest is sent again as it is."""
    assert change(learningMode="Apprentice", defaultReward=0.0, rewardWaitTime="PT600S").mode == "Apprentice"


def test_conditions() -> None:
    """Sums may leave -1 to 1, late rewards are nothing, and only who is online learns from rewards."""
    found = conditions(change(defaultReward=-0.5, rewardWaitTime="PT5S", explorationPercentage=0.1), {"": "a"})
    assert (found.window, found.floor, found.teaches, found.shown) == (5_000, 0.1, True, {})
    assert msgspec.to_builtins(found.terms) == [-1.0, 1.0, -0.5, True, False]
    summed = conditions(change(rewardAggregation="sum"), {})
    assert msgspec.to_builtins(summed.terms) == [-64.0, 64.0, 0.0, True, True]
    apprentice, logging = (conditions(change(learningMode=mode), {"": "a"}) for mode in ("Apprentice", "LoggingOnly"))
    assert (apprentice.teaches, apprentice.shown) == (False, {"": "a"})
    assert (logging.teaches, logging.shown) == (False, {})


@pytest.mark.parametrize("text", [b"", b"[]", b'{"wait": 1}', b'{"mode": "x"}', b"\xff"])
def test_damaged(text: bytes) -> None:
    """An error that names the place."""
    with pytest.raises(CorruptState, match="oo:personalizer app"):
        decode("oo:personalizer app", text)
