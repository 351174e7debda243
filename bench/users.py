"""Many users, written to Redis as the service would have left them, without asking it a million times."""

import socket
from typing import Final

from app.bandit.ridge import observe, prior
from app.policies.catalog import policies
from state import keys
from state.values import history, record

__all__ = ["DECISIONS", "POLICY", "preload"]

POLICY: Final = "linucb-v1"
DECISIONS: Final = 10  # in each user's history
_AT_ONCE: Final = 2_000


def _words(*words: bytes) -> bytes:
    """A command in Redis's protocol."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def _state() -> tuple[list[bytes], list[bytes]]:
    """The fields of a model that has learned a little, and the history beside it."""
    a, b = prior(policies(alpha=1.0, epsilon=0.1)[POLICY].d)
    for step in range(20):
        x = b + [((step + column) % 7) / 7 for column in range(len(b))]
        a, b = observe(a, b, x / 4, 0.5)
    meta = record.Meta(pulls=DECISIONS, reward_count=20, cumulative_reward=10.0, last_updated=1_760_000_000)
    fields = [word for field in record.encode(record.Record(a, b, meta)).items() for word in field]
    entry = history.Entry(
        ts=1_760_000_000,
        tip_id="t1",
        score=1.2345678901234567,
        hour_of_day=9,
        is_overdue=True,
        task_age_days=12.0,
        priority=3,
        policy=POLICY,
    )
    return fields, [history.encode(entry)] * DECISIONS


def preload(port: int, users: int, prefix: str = "u") -> None:
    """Write the state of users `prefix`0, `prefix`1, … into the Redis on `port` of this machine."""
    fields, entries = _state()
    # Only the key differs between users: all that follows it is made once.
    set_model = b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in fields)
    push = b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in entries)
    set_head = b"*%d\r\n$4\r\nHSET\r\n" % (2 + len(fields))
    push_head = b"*%d\r\n$5\r\nRPUSH\r\n" % (2 + len(entries))
    with socket.create_connection(("127.0.0.1", port)) as connection:
        replies = connection.makefile("rb")
        # Redis does not answer each of two million commands: it says once at the end that it has read all.
        connection.sendall(_words(b"CLIENT", b"REPLY", b"OFF"))
        for first in range(0, users, _AT_ONCE):
            parts = []
            for number in range(first, min(first + _AT_ONCE, users)):
                name = f"{prefix}{number}"
                model, past = keys.record(name, POLICY).encode(), keys.history(name).encode()
                parts.append(set_head + b"$%d\r\n%b\r\n" % (len(model), model) + set_model)
                parts.append(push_head + b"$%d\r\n%b\r\n" % (len(past), past) + push)
            connection.sendall(b"".join(parts))
        connection.sendall(_words(b"CLIENT", b"REPLY", b"ON") + _words(b"DBSIZE"))
        on, size = replies.readline(), replies.readline()
    if on != b"+OK\r\n" or int(size[1:]) < 2 * users:
        raise SystemExit(f"Redis took {size!r} keys, not {2 * users} (its maxmemory?)")
