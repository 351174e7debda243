"""The configuration of a durable: as the service makes it, and what differs in another."""

from typing import Any

import pytest
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, ReplayPolicy

from app.events.durable_config import ack_wait, differences, is_usable, max_deliver, wanted

WANTED = wanted("oo-serving-signals", "signals.>")


def changed(**settings: Any) -> ConsumerConfig:
    return WANTED.evolve(**settings)


def test_wanted() -> None:
    """One that the server never gives up on, for all events of the subject."""
    assert (WANTED.durable_name, WANTED.filter_subject, WANTED.max_deliver) == ("oo-serving-signals", "signals.>", -1)
    assert (WANTED.ack_wait, WANTED.max_ack_pending) == (10.0, 10_000)
    assert is_usable(WANTED)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, []),
        ({"backoff": [], "headers_only": False, "inactive_threshold": 0}, []),
        ({"ack_wait": 7.0, "max_deliver": 2}, ["ack_wait 7.0 instead of 10.0", "max_deliver 2 instead of -1"]),
        ({"deliver_policy": DeliverPolicy.NEW}, ["deliver_policy new instead of all"]),
        ({"replay_policy": ReplayPolicy.ORIGINAL}, ["replay_policy original instead of instant"]),
        ({"ack_policy": AckPolicy.ALL}, ["ack_policy all instead of explicit"]),
        ({"filter_subject": None}, ["filter_subject None instead of signals.>"]),
        ({"max_ack_pending": 5}, ["max_ack_pending 5 instead of 10000"]),
        ({"backoff": [1.0]}, ["backoff [1.0] instead of None"]),
        ({"inactive_threshold": 60.0}, ["inactive_threshold 60.0 instead of None"]),
        ({"description": "ours", "num_replicas": 3}, []),
    ],
    ids=str,
)
def test_differences(settings: dict[str, Any], told: list[str]) -> None:
    """Each in plain words; what is not set may be missing, empty or 0."""
    config = ConsumerConfig(**{name: getattr(WANTED, name) for name in vars(WANTED)} | settings)
    assert differences(config, WANTED) == told


@pytest.mark.parametrize(
    ("settings", "usable"),
    [({"deliver_subject": "elsewhere"}, False), ({"headers_only": True}, False), ({"max_deliver": 2}, True)],
)
def test_usable(settings: dict[str, Any], usable: bool) -> None:
    """Not one that pushes, nor one without bodies."""
    assert is_usable(changed(**settings)) == usable


@pytest.mark.parametrize(("theirs", "deliveries"), [(-1, 5), (None, 5), (0, 5), (2, 2), (9, 5)])
def test_max_deliver(theirs: int | None, deliveries: int) -> None:
    """The durable's own limit counts if it is lower: at it the server would drop the event silently."""
    config = ConsumerConfig(max_deliver=theirs)
    assert max_deliver(config, 5) == deliveries


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [({}, 10.0), ({"ack_wait": 7.0}, 7.0), ({"ack_wait": 7.0, "backoff": [3.0, 9.0]}, 3.0), ({"ack_wait": None}, 10.0)],
)
def test_ack_wait(settings: dict[str, Any], seconds: float) -> None:
    """The shortest time after which the server may deliver an event again."""
    assert ack_wait(ConsumerConfig(**{"ack_wait": 10.0} | settings)) == seconds
