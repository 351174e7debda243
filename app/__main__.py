"""`python -m app`: the service, as the environment's settings say. With a word after it: a command for operators."""

# PYTHON_ARGCOMPLETE_OK: a shell that completes commands of Python looks for this word
# ruff: noqa: E402  # a signal may arrive while the rest is imported

import sys

from app.starting import COMPLETING, INTERRUPTED, Start

_start = Start(INTERRUPTED if len(sys.argv) > 1 else 0)
if __name__ == "__main__":  # and not in workers, which import this module under another name
    _start.watch()

import logging
import os
import signal
import socket
import tempfile
import time
from contextlib import ExitStack, suppress
from functools import partial
from multiprocessing import resource_tracker
from typing import Final

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

from app.http.connection import Sweep
from app.http.protocol import HttpProtocol
from app.listening import listeners
from app.observe.logs import set_up
from app.settings import SettingsError, from_environment

_log: Final = logging.getLogger("oo")
_SHARED: Final = "PROMETHEUS_MULTIPROC_DIR"
# A worker that does not answer its parent for this long is ended. uvicorn's 5 s are too short: on a busy machine a
# worker would be ended again and again before it has started.
_WORKER_SECONDS: Final = 30
_STOPS: Final = frozenset({signal.SIGTERM, signal.SIGINT})


class _Workers(Multiprocess):
    """uvicorn's supervisor, with three differences.

    On SIGHUP uvicorn 0.54 replaces all workers, which cuts connections; here each worker gets the signal. uvicorn waits
    for a worker that starts, and does not stop meanwhile; here it does not wait. And in uvicorn a worker that starts
    answers Ctrl-C with a traceback.
    """

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket]) -> None:
        super().__init__(config, sockets)
        # The time until which a starting worker may be silent, by process id; 0 once it has answered.
        self._silent_until: dict[int, float] = {}
        # Otherwise the first worker would start this helper of multiprocessing, which unblocks the signal.
        resource_tracker.ensure_running()
        # Workers inherit this, so that none is interrupted before it serves; `handle_signals` polls for the signal.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})

    def handle_signals(self) -> None:
        for number in signal.sigpending() & {signal.SIGHUP, signal.SIGINT}:
            signal.sigwait({number})
            self.signal_queue.append(number)
        super().handle_signals()

    def handle_hup(self) -> None:
        for worker in self.processes:
            if worker.pid is not None and worker.exitcode is None:
                os.kill(worker.pid, signal.SIGHUP)

    def keep_subprocess_alive(self) -> None:
        # sum() and not all(): each worker is asked, even if the first does not answer.
        if sum(self._would_answer(worker) for worker in self.processes) == len(self.processes):
            super().keep_subprocess_alive()

    def _would_answer(self, worker: Process) -> bool:
        """Whether a worker has answered once or has ended. One that is silent for too long is ended."""
        if worker.pid is None or worker.exitcode is not None:
            return True
        until = self._silent_until.get(worker.pid)
        if until is None:
            until = self._silent_until[worker.pid] = time.monotonic() + _WORKER_SECONDS
            worker.parent_conn.send(b"ping")
            # The worker has it now. Were it open here too, one that ends instead of answering would be waited for.
            worker.child_conn.close()
        elif until and worker.parent_conn.poll():
            with suppress(EOFError):  # it is ending
                worker.parent_conn.recv()
            until = self._silent_until[worker.pid] = 0.0
        if until and time.monotonic() >= until:
            worker.process.kill()
            worker.process.join()
            return True
        return not until


class _Server(uvicorn.Server):
    """uvicorn's server, which logs its address."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        # From here on uvicorn's handlers stop the server in order and then raise the signal again.
        _start.over = True
        await super().startup(sockets)
        if self.started:
            _log.info("serving on %s", _where(self.config))


def _where(config: uvicorn.Config) -> str:
    host = f"[{config.host}]" if ":" in config.host else config.host
    return f"http://{host}:{config.port}"


def _end_command(*_: object) -> None:
    """End a command by SIGTERM as cleanly as by Ctrl-C, even where SIGINT is ignored, as after `&` in a script."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.raise_signal(signal.SIGINT)


def main() -> int:
    if len(sys.argv) > 1 or COMPLETING in os.environ:
        return _command(sys.argv[1:])
    # SIGHUP would end the process. Each process that serves unblocks it once it has a handler.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    with ExitStack() as together:
        try:
            return _serve(together)
        except SettingsError as error:
            sys.stderr.write(f"{error}\n")
            return 2


def _command(words: list[str]) -> int:
    from app.commands.cli import run  # noqa: PLC0415  # only commands need these modules

    # asyncio of Python 3.11 logs an error if a connection is given up while it is being made.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    logging.getLogger("oo.store").setLevel(logging.ERROR)  # a command reports errors itself
    try:
        signal.signal(signal.SIGTERM, _end_command)
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return run(words)
    except KeyboardInterrupt:  # before the command has begun
        return INTERRUPTED


def _metrics_directory() -> tempfile.TemporaryDirectory[str]:
    """A new directory, removed even if a signal ends the start. Raises SettingsError."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    try:
        made = tempfile.TemporaryDirectory(prefix="oo-metrics-")
        _start.clean_up = made.cleanup
    except OSError as error:
        raise SettingsError(
            f"WORKERS: more than 1 needs a writable directory, at /tmp or in TMPDIR ({error.strerror})"
        ) from None
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)
    return made


def _serve(together: ExitStack) -> int:
    settings = from_environment(os.environ)
    set_up(settings.log_level, settings.log_format)
    # Several processes keep their metrics in a directory that is new for each start. prometheus_client reads the
    # variable when it is imported.
    os.environ.pop(_SHARED, None)
    if settings.workers > 1:
        os.environ[_SHARED] = together.enter_context(_metrics_directory())
    from app.main import create_app  # noqa: PLC0415  # it imports prometheus_client

    app = create_app(settings)
    sockets = [together.enter_context(bound) for bound in listeners(settings.host, settings.port)]
    config = uvicorn.Config(
        app if settings.workers == 1 else "app.main:from_environment",
        factory=settings.workers > 1,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        loop="uvloop",
        http=partial(HttpProtocol, seconds=settings.max_request_seconds, sweep=Sweep()),  # type: ignore[arg-type]  # called like a class
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
    server.run(sockets)
    return 0 if server.started else STARTUP_FAILURE


if __name__ == "__main__":
    sys.exit(main())
