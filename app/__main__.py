"""`python -m app`: the service, as the environment's settings say. With a word after it: a command for operators."""

import errno
import logging
import os
import signal
import socket
import sys
import tempfile
from contextlib import ExitStack, suppress
from functools import partial
from typing import Final

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from app.logs import set_up
from app.protocol import HttpProtocol
from app.settings import SettingsError, from_environment

_log: Final = logging.getLogger("oo")
_SHARED: Final = "PROMETHEUS_MULTIPROC_DIR"
# Longest a worker may keep its parent waiting for a sign of life: one that starts on a busy machine has none yet, and
# killed after uvicorn's 5 s it would never have.
_WORKER_SECONDS: Final = 30
# What a machine says that has no such family of addresses.
_LACKING: Final = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


class _Workers(Multiprocess):
    """uvicorn's supervisor would replace all workers on SIGHUP, at the price of connections; ours are told of it."""

    def handle_signals(self) -> None:
        if signal.SIGHUP in signal.sigpending():
            signal.sigwait({signal.SIGHUP})
            self.handle_hup()
        super().handle_signals()

    def handle_hup(self) -> None:
        for worker in self.processes:
            if worker.pid is not None and worker.exitcode is None:
                os.kill(worker.pid, signal.SIGHUP)


class _Server(uvicorn.Server):
    """uvicorn's server, which says where it serves."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            _log.info("serves on %s", _where(self.config))


def _where(config: uvicorn.Config) -> str:
    host = f"[{config.host}]" if ":" in config.host else config.host
    return f"http://{host}:{config.port}"


def _end_command(*_: object) -> None:
    """Whatever ends a command leaves as little behind as Ctrl-C, also where that is ignored: a script's `&` does so."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.raise_signal(signal.SIGINT)


def main() -> int:
    if len(sys.argv) > 1:
        from app.commands import run  # noqa: PLC0415  # the service need not know them

        signal.signal(signal.SIGTERM, _end_command)
        # asyncio of Python 3.11 complains of itself if a connection is given up in the moment in which it is made.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        logging.getLogger("oo.store").setLevel(logging.ERROR)  # its warnings are for who runs the service
        return run(sys.argv[1:])
    # By default it ends a process. Each one that serves, this one or its children, lets it in once it can take it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    with ExitStack() as together:
        try:
            return _serve(together)
        except SettingsError as error:
            sys.stderr.write(f"{error}\n")
            return 2


def listeners(host: str, port: int) -> list[socket.socket]:
    """Sockets bound to all addresses that `host` stands for; connections are refused until a server listens on them.

    An address of a family that the machine lacks is passed over if there is another. Raises SettingsError.
    """
    bound: list[socket.socket] = []
    trouble: OSError | UnicodeError | None = None
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, protocol, _, address in dict.fromkeys(found):
            try:
                bound.append(_bound(family, protocol, address))
            except OSError as error:
                if error.errno not in _LACKING:
                    raise
                trouble = error
    except (OSError, UnicodeError) as error:  # UnicodeError: of what can be no name
        while bound:
            bound.pop().close()
        trouble = error
    if not bound:
        reason = f" ({trouble.strerror})" if isinstance(trouble, OSError) else ""
        raise SettingsError(
            f"HOST and PORT: take an address of this machine and a free port, not {host!r} and {port}{reason}"
        )
    return bound


def _bound(family: socket.AddressFamily, protocol: int, address: tuple[str | int | bytes, ...]) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Else :: would take the port of 0.0.0.0 too.
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
    except OSError:
        made.close()
        raise
    return made


def _serve(together: ExitStack) -> int:
    settings = from_environment(os.environ)
    set_up(settings.log_level, settings.log_format)
    # Where several processes keep their metrics together, new for each start; prometheus_client reads the variable
    # when it is imported.
    os.environ.pop(_SHARED, None)
    if settings.workers > 1:
        os.environ[_SHARED] = together.enter_context(tempfile.TemporaryDirectory(prefix="oo-metrics-"))
    from app.main import create_app  # noqa: PLC0415

    app = create_app(settings)
    sockets = [together.enter_context(bound) for bound in listeners(settings.host, settings.port)]
    # uvicorn raises the signal again once it has stopped in good order, and that is no failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    config = uvicorn.Config(
        app if settings.workers == 1 else "app.main:from_environment",
        factory=settings.workers > 1,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        loop="uvloop",
        http=partial(HttpProtocol, seconds=settings.max_request_seconds),  # type: ignore[arg-type]  # called like a class
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=settings.shutdown_seconds,
        timeout_worker_healthcheck=_WORKER_SECONDS,
    )
    if settings.workers > 1:
        _log.info("%d processes will serve on %s", settings.workers, _where(config))
        _Workers(config, sockets=sockets).run()
        return 0
    server = _Server(config)
    with suppress(KeyboardInterrupt):
        server.run(sockets)
    return 0 if server.started else STARTUP_FAILURE


if __name__ == "__main__":
    sys.exit(main())
