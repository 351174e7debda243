"""What a signal does to a process that does not serve yet: it ends at once, in good order.

The first process of a container has no default action for SIGTERM: the kernel drops the signal unless there is a
handler. So this module is imported before all others, and imports next to nothing.
"""

import os
import signal

__all__ = ["INTERRUPTED", "Start"]

INTERRUPTED = 130  # the exit code of a program that Ctrl-C ended


def _nothing() -> None:
    pass


class Start:
    """Handles SIGTERM and SIGINT, until uvicorn's handlers take over and again after they are gone.

    While the process starts, a signal ends it with `code`. `over` is set once it serves: then uvicorn stops it, and
    raises the signal again when that is done, which is a success. `clean_up` removes what a process that ends before
    that would leave behind.
    """

    def __init__(self, code: int) -> None:
        self._code = code
        self.over = False
        self.clean_up = _nothing

    def watch(self) -> None:
        """Handle both signals from now on; SIGINT only if it is not ignored, as in a script's background."""
        signal.signal(signal.SIGTERM, self._stop)
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._stop)

    def _stop(self, *_: object) -> None:
        if self.over:
            raise SystemExit(0)
        # No exception: half of an import may swallow it, or print it.
        self.clean_up()
        os._exit(self._code)
