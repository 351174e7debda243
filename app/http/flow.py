"""Flow control of a connection: whether bytes are read from it."""

import asyncio

from uvicorn.protocols.http.flow_control import FlowControl

__all__ = ["Flow"]


class Flow(FlowControl):
    """uvicorn's flow control, except that nothing resumes reading while the protocol holds it.

    In uvicorn 0.54 each answer and each `receive` resumes reading. This class can go when uvicorn has a bound on the
    requests it queues for one connection.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__(transport)
        self.held = False

    def hold(self, held: bool) -> None:  # noqa: FBT001  # the method's name says what the argument means
        """Stop reading, or go on unless uvicorn has paused it too."""
        if held == self.held:
            return
        self.held = held
        if not self.read_paused:
            self._transport.pause_reading() if held else self._transport.resume_reading()

    def pause_reading(self) -> None:
        if self.held:
            self.read_paused = True
        else:
            super().pause_reading()

    def resume_reading(self) -> None:
        if self.held:
            self.read_paused = False
        elif self.read_paused:
            super().resume_reading()
