"""Which status each error is answered with, and what is said of it."""

from typing import Any

import msgspec
import pytest
from litestar import Request
from litestar.exceptions import NotFoundException

from app.decisions.errors import BadDecision, Gone, NotKnown, Refused, Unfit
from app.http.body import TooLarge
from app.http.errors import STATUS, answer_to, status_of
from app.tips.errors import LlmError
from state import errors


def request() -> Request[Any, Any, Any]:
    scope: Any = {"type": "http", "method": "GET", "path": "/stats/W3ird", "path_template": "/stats/{user_id}"}
    return Request(scope)


def test_an_unexpected_error_is_logged_without_the_path(caplog: pytest.LogCaptureFixture) -> None:
    """The client is told nothing of it, the log has its traceback and the route, not the path with the user in it."""
    answer = answer_to(request(), RuntimeError("a defect"))
    assert (answer.status_code, answer.content.detail) == (500, "internal server error")
    assert "GET /stats/{user_id} failed" in caplog.text
    assert "RuntimeError: a defect" in caplog.text
    assert "W3ird" not in caplog.text


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (TooLarge("long"), 413),
        (errors.KeyReused("reused"), 422),
        (BadDecision("odd"), 422),
        (Unfit("too much"), 422),
        (Refused("no", "open", None), 409),
        (Gone("old"), 410),
        (NotKnown("none"), 404),
        (errors.StoreUnavailable("away"), 503),
        (errors.ConflictError("lost"), 503),
        (errors.CorruptState("oo:{ann}:history", "odd"), 500),
        (NotFoundException("Not Found"), 404),
    ],
)
def test_an_error_has_a_status_and_says_why(error: Exception, status: int) -> None:
    """The detail is the error's own text, and 503 says when to try again."""
    answer = answer_to(request(), error)
    assert (answer.status_code, answer.content.detail) == (status, getattr(error, "detail", str(error)))
    assert ("Retry-After" in answer.headers) == (status == 503)


def test_an_error_may_say_when_to_try_again() -> None:
    """In whole seconds, rounded up."""

    class Later(errors.StoreUnavailable):
        retry_after = 2.1

    assert answer_to(request(), Later("busy")).headers["Retry-After"] == "3"


def test_each_error_of_the_store_and_of_tips_has_a_row() -> None:
    """No error that the service raises itself is answered as an unexpected one."""

    def kinds(type_: type[Exception]) -> list[type[Exception]]:
        return [type_, *(kind for below in type_.__subclasses__() for kind in kinds(below))]

    known = tuple(STATUS)
    own = [kind for kind in kinds(errors.StoreError) + kinds(LlmError)[1:] if kind.__module__.split(".")[0] != "tests"]
    assert [kind for kind in own if not issubclass(kind, known)] == []


def test_a_refusal_says_how_the_decision_stands() -> None:
    """Beside the reason: its status, and the reward that is recorded."""
    answer = answer_to(request(), Refused("no", "rewarded", 0.5))
    assert msgspec.to_builtins(answer.content) == {"detail": "no", "status": "rewarded", "recorded": 0.5}


def test_an_error_that_nobody_expects_has_no_status() -> None:
    """So that one of several requests does not hide a defect."""
    assert status_of(RuntimeError("a defect")) is None
    assert status_of(KeyError("another")) is None
