"""GET /health: the state of the service, its store and its consumers."""

from typing import Literal

import msgspec

from app.messages.basics import Time

__all__ = ["ConsumerHealth", "HealthAnswer", "LogHealth", "LoopsHealth", "NatsHealth", "State", "StoreHealth"]


State = Literal["connecting", "waiting for stream", "paused", "running"]


class ConsumerHealth(msgspec.Struct, frozen=True):
    """One consumer as `/health` shows it; the counts are of this process, `pending` is of the stream."""

    state: State
    last_msg_ts: Time | None
    processed: int
    errors: int
    dead_lettered: int
    in_hand: int
    pending: int
    problem: str | None


class NatsHealth(msgspec.Struct, frozen=True):
    """The part `nats` of `/health`. The service is healthy whatever it says."""

    enabled: bool
    consumers: dict[str, ConsumerHealth]


class StoreHealth(msgspec.Struct, frozen=True):
    """Whether Redis answers: how fast, or why not."""

    ok: bool
    milliseconds: float | None = None
    problem: str | None = None


class LogHealth(msgspec.Struct, frozen=True):
    """The part `log` of `/health`: what keeps the log from being published, and what waits in Redis, of all replicas.
    The service is healthy whatever it says."""

    enabled: bool
    problem: str | None = None
    waiting_lines: int = 0
    oldest_seconds: float = 0.0


class LoopsHealth(msgspec.Struct, frozen=True):
    """The part `loops` of `/health`: whether the loops are served as Redis says, or why not. They are served anyway."""

    ok: bool
    problem: str | None = None


class HealthAnswer(msgspec.Struct, frozen=True):
    """The state of the service. `ok` says whether it can serve, and `detail` why not; NATS and loops do not count."""

    ok: bool
    version: str
    draining: bool
    store: StoreHealth
    nats: NatsHealth
    log: LogHealth
    loops: LoopsHealth
    detail: str | msgspec.UnsetType = msgspec.UNSET
