"""The log says which Redis is used and which cannot be reached, and never with what password; answers say neither."""

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from state.errors import StoreUnavailable
from state.redis.connect import open_servers
from state.store import Store
from tests.support.processes import HOST, free_port
from tests.support.redis_groups import redis_cluster, redis_sentinel
from tests.support.redis_servers import certificate, redis_server
from tests.support.service import service
from tests.support.waiting import PATIENCE_SECONDS, until

pytestmark = pytest.mark.anyio


def test_said_at_the_start_and_when_it_cannot_be_reached() -> None:
    """The process names its Redis at once and again with what is wrong; the client reads no address."""
    port = free_port()
    with service({"REDIS_URL": f"redis://bob:hidden@{HOST}:{port}/2"}) as served:
        until(lambda: f"Redis cannot be reached ({HOST}:{port}: Connection refused)" in served.log, "the trouble told")
        answer = httpx.get(f"{served.url}/health/ready", timeout=PATIENCE_SECONDS)
        assert f"Redis: one server at {HOST}:{port}, database 2" in served.log
    assert answer.status_code == 503
    assert answer.json() == {"detail": "Redis cannot be reached"}
    assert "hidden" not in served.log


async def told(url: str, caplog: pytest.LogCaptureFixture, *, seconds: float = PATIENCE_SECONDS) -> str:
    """What the log says of a Redis that cannot be asked; what a client is told has no address."""
    servers = open_servers(url, size=4, timeout=seconds)
    store = Store(servers, timeout=seconds, history_size=1, marker_seconds=1)
    caplog.clear()
    with caplog.at_level(logging.WARNING, "oo.store"), pytest.raises(StoreUnavailable) as raised:
        await store.ping()
    await store.close()
    assert HOST not in str(raised.value)
    [line] = caplog.messages
    return line.removesuffix(": requests are answered 503")


async def test_tls_to_a_server_without(caplog: pytest.LogCaptureFixture) -> None:
    """A plain server does not understand the handshake, and waits for more of it or ends it."""
    with redis_server() as server:
        line = await told(f"rediss://{HOST}:{server.port}", caplog, seconds=1.0)
    assert f"({HOST}:{server.port}: the TLS handshake " in line


@contextmanager
def silent(words: bytes = b"") -> Iterator[int]:
    """The port of a server that takes connections and says `words` and nothing else."""
    with socket.create_server((HOST, 0)) as listening:
        taken: list[socket.socket] = []

        def take() -> None:
            with suppress(OSError):
                while True:
                    taken.append(listening.accept()[0])
                    taken[-1].sendall(words)

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()
            for one in taken:
                one.close()


async def test_a_handshake_without_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    """Not only "in time": the log asks whether the port speaks TLS at all. Without TLS it names the server alone."""
    with silent() as port:
        line = await told(f"rediss://{HOST}:{port}", caplog, seconds=1.0)
        assert line.endswith(f"({HOST}:{port}: the TLS handshake was not finished: does this port speak TLS?)")
        line = await told(f"redis://{HOST}:{port}", caplog, seconds=1.0)
        assert line == f"Redis did not answer in time ({HOST}:{port})"


async def test_a_handshake_with_a_wrong_answer(caplog: pytest.LogCaptureFixture) -> None:
    """What is not TLS is told as OpenSSL names it."""
    with silent(b"-ERR unknown command\r\n") as port:
        line = await told(f"rediss://{HOST}:{port}", caplog)
    assert line.startswith(f"Redis cannot be reached ({HOST}:{port}: the TLS handshake failed: ")


async def test_a_certificate_of_another_authority(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What is wrong with a certificate is told, and not as an error number of the system."""
    cert, _ = certificate(tmp_path)
    with redis_server(tls=True) as server:
        line = await told(f"rediss://{HOST}:{server.port}?ssl_ca_certs={cert}", caplog)
    assert line.startswith(f"Redis cannot be reached ({HOST}:{server.port}: the TLS handshake failed: ")
    assert "self-signed certificate" in line or "signature" in line


async def test_what_redis_refuses(caplog: pytest.LogCaptureFixture) -> None:
    """A wrong password is told with the address, and without the password."""
    with redis_server("--requirepass", "right") as server:
        line = await told(f"redis://:hidden@{HOST}:{server.port}", caplog)
    words = "it wants another name or password, or one at all"
    assert line == f"Redis refuses: AuthenticationError ({HOST}:{server.port}: {words})"


async def test_sentinels_that_know_no_master(caplog: pytest.LogCaptureFixture) -> None:
    """Of sentinels that are away the start named the addresses; the failure says that it is they."""
    line = await told(f"redis+sentinel://{HOST}:{free_port()}/mymaster", caplog)
    assert line == "Redis cannot be reached (no sentinel that answers knows a master)"


async def test_a_master_found_through_sentinel(caplog: pytest.LogCaptureFixture) -> None:
    """The address told is that of the master the sentinels named."""
    with redis_sentinel(down_after_ms=600_000) as group:
        port = group.master.port
        group.master.kill()
        line = await told(group.url, caplog)
    assert line == f"Redis cannot be reached ({HOST}:{port}: Connection refused)"


async def test_a_node_of_a_cluster(caplog: pytest.LogCaptureFixture) -> None:
    """Of a cluster the node that failed is named."""
    with redis_cluster(masters=1) as cluster:
        servers = open_servers(cluster.url, size=4, timeout=1.0)
        store = Store(servers, timeout=1.0, history_size=1, marker_seconds=1)
        await store.ping()
        cluster.masters[0].kill()
        with pytest.raises(StoreUnavailable):
            await store.ping()
        await store.close()
    assert f"{HOST}:{cluster.masters[0].port}" in caplog.messages[0]
