"""The time limit of a test: the test fails, the run goes on, and the output shows where every thread and task was.

pytest-timeout calls these through the hooks in conftest. Its own timer does not work here, because uvloop swallows what
a signal handler raises, except SystemExit and KeyboardInterrupt, and pytest ends its run on KeyboardInterrupt.
"""

import asyncio
import faulthandler
import signal
import sys
from functools import partial

__all__ = ["TimedOut", "cancel", "start"]


class TimedOut(SystemExit):
    """Raised in the main thread, wherever the test is, when its time is over."""


def start(seconds: float) -> None:
    """Raise TimedOut after `seconds`, unless `cancel` comes first."""
    signal.signal(signal.SIGALRM, partial(_expired, seconds))
    signal.setitimer(signal.ITIMER_REAL, seconds)


def cancel() -> None:
    """Stop the timer."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


def _expired(seconds: float, *_: object) -> None:
    # A thread's stack ends in the event loop; only the tasks' stacks show at which `await` they are.
    loop = asyncio._get_running_loop()
    for task in asyncio.all_tasks(loop) if loop else ():
        task.print_stack(file=sys.stderr)
    faulthandler.dump_traceback(sys.stderr)
    raise TimedOut(f"took longer than {seconds:g} s")
