"""The outbox of the log on a real Redis whose user has the rights that the documents name."""

import re

import pytest

from state.redis.connect import open_servers
from state.store import Store
from state.update.changes import Backlog, Change, Emit
from state.update.operation import Emitted
from tests.support.processes import ROOT
from tests.support.redis_servers import RedisServer
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.anyio


async def test_rights(real_redis: RedisServer) -> None:
    """They are enough to write lines, to find, count and remove them, and to drop the oldest; each command is used."""
    text = (ROOT / "docs" / "run" / "operations.md").read_text()
    base = re.search(r"ACL SETUSER oo-serving on (.*?)```", text, re.DOTALL)
    more = re.search(r"^\| \[`DECISION_LOG`\].*\| `(.*)` \|$", text, re.MULTILINE)
    assert base
    assert more
    words = re.sub(r"['\\\\]", "", f"{base[1]} {more[1]}").split()
    real_redis.command("ACL", "SETUSER", "log", "on", *words)
    real_redis.command("CONFIG", "RESETSTAT")
    url = real_redis.url.replace("redis://", "redis://log:PASSWORD@")
    servers = open_servers(url, size=4, timeout=PATIENCE_SECONDS)
    store = Store(servers, timeout=PATIENCE_SECONDS, history_size=1, marker_seconds=60)
    key, sent = store.outbox.key("ann"), list[Emitted]()
    store.tell_emitted(sent.extend)
    told = Change(None, tuple(Emit(key, "tips", line) for line in (b"1", b"2", b"3")))
    await store.update("ann", (Backlog(key),), lambda _: told)
    assert [one.line for one in sent] == [b"1", b"2", b"3"]
    left = [one async for page in store.outbox.left(await store.outbox.now() + 60_000) for one in page]
    assert left == sent
    await store.outbox.remove(sent[:1])
    assert await store.outbox.trim(key, 1) == 1
    assert [size.lines for size in (await store.outbox.size()).values()] == [1]
    await store.outbox.remove(sent)
    await store.close()
    with real_redis.client(decode_responses=True) as admin:
        used = {name.removeprefix("cmdstat_") for name in admin.info("commandstats")}
    assert {word[1:] for word in more[1].split()} - used == set()
    real_redis.command("ACL", "DELUSER", "log")
