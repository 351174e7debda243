"""How a durable consumer is configured: as the service makes it, and in what one that exists already differs."""

from enum import Enum
from typing import Final

from nats.js.api import ConsumerConfig

__all__ = ["ack_wait", "differences", "is_usable", "max_deliver", "wanted"]

ACK_WAIT_SECONDS: Final = 10.0  # for so long the events of a replica that died are kept from the others
# Events that wait for a later delivery count too: so many may fail before the others have to wait.
MAX_ACK_PENDING: Final = 10_000
_COMPARED: Final = (
    "deliver_subject",
    "headers_only",
    "filter_subject",
    "deliver_policy",
    "replay_policy",
    "ack_policy",
    "ack_wait",
    "max_deliver",
    "max_ack_pending",
    "backoff",
    "inactive_threshold",
)


def wanted(durable: str, subject: str) -> ConsumerConfig:
    """The configuration with which the service makes a durable for `subject`.

    Nothing in it depends on a setting that replicas may disagree about during a rollout.
    """
    return ConsumerConfig(
        name=durable,
        durable_name=durable,
        filter_subject=subject,
        ack_wait=ACK_WAIT_SECONDS,
        max_deliver=-1,
        max_ack_pending=MAX_ACK_PENDING,
    )


def is_usable(config: ConsumerConfig) -> bool:
    """Whether events can be pulled from it, with their bodies."""
    return not (config.deliver_subject or config.headers_only)


def differences(found: ConsumerConfig, expected: ConsumerConfig) -> list[str]:
    """Each setting of `found` that is not as `expected`, such as `ack_wait 7.0 instead of 10.0`."""
    return [
        f"{name} {given} instead of {other}"
        for name in _COMPARED
        if (given := _plain(found, name)) != (other := _plain(expected, name))
    ]


def max_deliver(config: ConsumerConfig, ours: int) -> int:
    """How many deliveries an event gets: `ours`, or the durable's own limit if that is lower."""
    return min(limit for limit in (ours, config.max_deliver or -1) if limit > 0)


def ack_wait(config: ConsumerConfig) -> float:
    """After how many seconds without an answer the server may deliver an event again."""
    return min([config.ack_wait or ACK_WAIT_SECONDS, *(config.backoff or [])])


def _plain(config: ConsumerConfig, name: str) -> object:
    """A setting in plain words; one that is not set may be missing, empty or 0 and is None here."""
    value = getattr(config, name)
    return (value.value if isinstance(value, Enum) else value) or None
