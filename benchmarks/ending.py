"""How a worker ends when it is asked to, and when its driver is gone: in order, and soon."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NoReturn

STATUS = 128 + signal.SIGTERM  # what a shell says of a process that ended so
GRACE = 5.0  # seconds for the running batch to end and its state to be saved
CLOSING = 10.0  # seconds for what is open then, a W&B run, to be closed
LAST = 20.0  # seconds after which a worker without a driver ends in any case


class Interrupted(BaseException):
    """The Run is to end here; what it has saved is what the next attempt goes on from."""


class Ending:
    """Makes SIGTERM end a Run where it can be resumed.

    In a training that is between two batches, where Lightning itself stops; elsewhere, and where a batch takes longer
    than the grace time, at once, by raising Interrupted in the main thread.
    """

    def __init__(self, training: Callable[[], bool] = lambda: False) -> None:
        self.training = training
        self.over = False

    def install(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the driver, which ends its workers
        signal.signal(signal.SIGTERM, self._asked)
        signal.signal(signal.SIGALRM, self._now)

    def finish(self) -> None:
        """From here on nothing interrupts: what is left is to close what is open."""
        self.over = True
        if signal.getsignal(signal.SIGALRM) == self._now:  # the timer may be another's where this was not installed
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _asked(self, *_: Any) -> None:
        if self.training() and not self.over:
            signal.setitimer(signal.ITIMER_REAL, GRACE)
        else:
            self._now()

    def _now(self, *_: Any) -> None:
        if not self.over:
            self.finish()
            raise Interrupted


def follow(driver: Connection) -> None:
    """Ends the process when the pipe to its driver closes, also after a kill -9 of the driver."""

    def watch() -> NoReturn:
        try:
            driver.recv()
        except (EOFError, OSError):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(LAST)
        os._exit(STATUS)

    threading.Thread(target=watch, daemon=True).start()
