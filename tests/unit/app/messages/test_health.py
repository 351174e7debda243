"""What GET /health looks like."""

import msgspec

from app.messages.health import ConsumerHealth, HealthAnswer, LoopsHealth, NatsHealth, StoreHealth


def test_a_time_is_one_in_the_document() -> None:
    """`last_msg_ts` is a time or null."""
    _, schemas = msgspec.json.schema_components([ConsumerHealth])
    assert schemas["ConsumerHealth"]["properties"]["last_msg_ts"]["anyOf"] == [
        {"type": "string", "format": "date-time"},
        {"type": "null"},
    ]


def test_a_healthy_service_has_no_detail() -> None:
    """The field is absent, not null."""
    parts = {"store": StoreHealth(ok=True), "nats": NatsHealth(False, {}), "loops": LoopsHealth(ok=True)}
    answer = HealthAnswer(ok=True, version="1", draining=False, **parts)  # type: ignore[arg-type]  # by their names
    assert "detail" not in msgspec.to_builtins(answer)
    assert msgspec.to_builtins(msgspec.structs.replace(answer, detail="why"))["detail"] == "why"
