"""The health of a loop's reward pipeline, as Redis has it and as it is sent."""

from typing import Any

import msgspec
import pytest

from app.messages.pipeline import GatePoint, HealthHour, LoopHealth
from tests.unit.app.experiments.scene import healthy


def test_as_it_is_sent() -> None:
    """Every field is there; it is read back as it was, and a count is none below 0."""
    point = GatePoint("2026-11-29T10:00:00Z", "serves", -0.1, 0.2, 0.5, 9, None)
    found = healthy(gates={"watches": [point]})
    sent: dict[str, Any] = msgspec.to_builtins(found)
    assert sent["gates"]["watches"][0]["needed"] is None
    assert set(sent["hours"][0]) == {field.name for field in msgspec.structs.fields(HealthHour)}
    assert msgspec.convert(sent, LoopHealth) == found
    with pytest.raises(msgspec.ValidationError, match=r"`\$\.day\.matured`"):
        msgspec.convert(sent | {"day": sent["day"] | {"matured": -1}}, LoopHealth)
