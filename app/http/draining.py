"""Shutting down in order: first "not ready", so that load balancers look elsewhere, then no new connections."""

import asyncio
import signal
import threading
from typing import Any

__all__ = ["Draining"]


class Draining:
    """Whether the service is shutting down (`begun`), and how much time is left.

    It is "not ready" for `drain_seconds`, and then has `shutdown_seconds` for the requests and events in flight.
    """

    def __init__(self, drain_seconds: float, shutdown_seconds: float) -> None:
        self._drain_seconds = drain_seconds
        self._shutdown_seconds = shutdown_seconds
        self._deadline: float | None = None
        self.begun = False

    def begin(self, drain_seconds: float = 0.0) -> None:
        """Be "not ready" from now on."""
        self.begun = True
        self._deadline = asyncio.get_running_loop().time() + drain_seconds + self._shutdown_seconds

    def seconds_left(self) -> float:
        """The seconds left for what is in flight, at least 1."""
        if self._deadline is None:
            return self._shutdown_seconds
        return max(1.0, self._deadline - asyncio.get_running_loop().time())

    def on_sigterm(self) -> None:
        """Drain before the server's own handler of SIGTERM runs. A second SIGTERM runs it at once."""
        if threading.current_thread() is not threading.main_thread():
            return
        stop: Any = signal.getsignal(signal.SIGTERM)
        if not callable(stop):
            return
        loop = asyncio.get_running_loop()

        def drain() -> None:
            seconds = 0.0 if self.begun else self._drain_seconds
            self.begin(seconds)
            loop.call_later(seconds, stop, signal.SIGTERM, None)

        loop.add_signal_handler(signal.SIGTERM, drain)
