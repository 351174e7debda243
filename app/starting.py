"""What a signal does to a process that is not serving yet: the process ends at once, in good order.

The first process of a container has no default action for SIGTERM: the kernel drops the signal unless there is a
handler. So this module is imported before all others, and imports next to nothing.
"""

import os
import signal
from typing import Final

__all__ = ["COMPLETING", "INTERRUPTED", "Start"]

COMPLETING: Final = "_ARGCOMPLETE"  # the variable by which a shell asks what the Tab key may write
INTERRUPTED: Final = 130  # the exit code of a program ended by Ctrl-C


def _nothing() -> None:
    pass


class Start:
    """Handles SIGTERM and SIGINT before uvicorn's handlers take over, and after they are removed.

    While the process starts, a signal ends it with `code`, after `clean_up` has removed what it would leave behind.
    `over` is set once the process serves: from then on uvicorn stops it and then raises the signal again, which ends
    the process with success.
    """

    def __init__(self, code: int) -> None:
        self._code = code
        self.over = False
        self.clean_up = _nothing

    def watch(self) -> None:
        """Handle both signals from now on; SIGINT not if it is ignored, as in the background of a script."""
        signal.signal(signal.SIGTERM, self._stop)
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._stop)

    def _stop(self, *_: object) -> None:
        if self.over:
            raise SystemExit(0)
        # Not an exception: an import in progress might swallow or print it.
        self.clean_up()
        os._exit(self._code)
