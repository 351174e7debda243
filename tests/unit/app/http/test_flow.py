"""Who may resume reading."""

from app.http.flow import Flow
from tests.unit.app.http.wire import Transport


def test_only_the_holder_resumes_what_it_holds() -> None:
    """An answer's end, which resumes reading in uvicorn, does not while the protocol holds it."""
    transport = Transport()
    flow = Flow(transport)
    flow.hold(True)
    flow.hold(True)
    flow.pause_reading()
    flow.resume_reading()
    assert transport.calls == ["pause"]
    flow.hold(False)
    assert transport.calls == ["pause", "resume"]


def test_letting_go_leaves_another_s_pause() -> None:
    """uvicorn pauses reading when the application does not read its body; that lasts until uvicorn resumes it."""
    transport = Transport()
    flow = Flow(transport)
    flow.pause_reading()
    flow.hold(True)
    flow.hold(False)
    assert transport.calls == ["pause"]
    flow.resume_reading()
    assert transport.calls == ["pause", "resume"]
    flow.resume_reading()
    assert transport.calls == ["pause", "resume"]
