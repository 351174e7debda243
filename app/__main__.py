"""`python -m app`: the service, as the environment's settings say. With a word after it: a command for operators."""

import os
import signal
import sys
import tempfile
from contextlib import ExitStack, suppress
from typing import Final

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from app.logs import set_up
from app.protocol import HttpProtocol
from app.settings import SettingsError, from_environment

_SHARED: Final = "PROMETHEUS_MULTIPROC_DIR"


class _Workers(Multiprocess):
    """uvicorn's supervisor would replace all workers on SIGHUP, at the price of connections; ours are told of it."""

    def handle_hup(self) -> None:
        for worker in self.processes:
            if worker.pid is not None and worker.exitcode is None:
                os.kill(worker.pid, signal.SIGHUP)


def main() -> int:
    if len(sys.argv) > 1:
        from app.commands import run  # noqa: PLC0415  # the service need not know them

        return run(sys.argv[1:])
    with ExitStack() as together:
        return _serve(together)


def _serve(together: ExitStack) -> int:
    try:
        settings = from_environment(os.environ)
        # Where several processes keep their metrics together, new for each start; prometheus_client reads the variable
        # when it is imported.
        os.environ.pop(_SHARED, None)
        if settings.workers > 1:
            os.environ[_SHARED] = together.enter_context(tempfile.TemporaryDirectory(prefix="oo-metrics-"))
        from app.main import create_app  # noqa: PLC0415

        app = create_app(settings)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    # uvicorn raises the signal again once it has stopped in good order, and that is no failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    set_up(settings.log_level, settings.log_format)
    config = uvicorn.Config(
        app if settings.workers == 1 else "app.main:from_environment",
        factory=settings.workers > 1,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        loop="uvloop",
        http=HttpProtocol,
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=settings.shutdown_seconds,
    )
    if settings.workers > 1:
        _Workers(config, sockets=[config.bind_socket()]).run()
        return 0
    server = uvicorn.Server(config)
    with suppress(KeyboardInterrupt):
        server.run()
    return 0 if server.started else STARTUP_FAILURE


if __name__ == "__main__":
    sys.exit(main())
