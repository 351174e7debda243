"""The table from exception to HTTP status, and the answer: JSON with `detail`."""

import logging
import math
from collections.abc import Mapping
from typing import Any, Final

from litestar import Request, Response
from litestar.exceptions import HTTPException

from app.decision_log.lines import LongLine
from app.decisions.errors import BadDecision, Gone, NoLoop, NotKnown, Refused, Unfit
from app.experiments.errors import BadChange
from app.http.body import ClientGone, TooLarge
from app.messages.basics import ErrorAnswer
from app.messages.decisions import RefusedAnswer
from app.messages.reading import Unreadable
from app.tips.errors import LlmFailed, LlmNotConfigured, LlmUnavailable
from app.tips.prompts import UnknownPrompt
from state.errors import ConflictError, CorruptState, KeyReused, StoreError, StoreUnavailable

__all__ = ["RETRY_SECONDS", "STATUS", "answer_to", "status_of"]

_log: Final = logging.getLogger("oo.http")

STATUS: Final[Mapping[type[Exception], int]] = {
    Unreadable: 422,
    UnknownPrompt: 422,
    BadDecision: 422,
    Unfit: 422,
    BadChange: 422,
    KeyReused: 422,
    TooLarge: 413,
    LongLine: 413,
    Gone: 410,
    Refused: 409,
    NoLoop: 404,
    NotKnown: 404,
    ConflictError: 503,
    StoreUnavailable: 503,
    LlmUnavailable: 503,
    LlmNotConfigured: 503,
    LlmFailed: 502,
    CorruptState: 500,
    StoreError: 500,
    ClientGone: 499,  # for the log: the client has disconnected
}
RETRY_SECONDS: Final = 1


def status_of(error: Exception) -> int | None:
    """The status of an error that is expected; None for any other."""
    return next((STATUS[type_] for type_ in type(error).__mro__ if type_ in STATUS), None)


def answer_to(request: Request[Any, Any, Any], error: Exception) -> Response[ErrorAnswer] | Response[RefusedAnswer]:
    """The answer to a request that ended in `error`.

    An unexpected error is answered 500 and logged; the answer does not reveal its cause.
    """
    headers: dict[str, str] = {}
    known = status_of(error)
    if known is not None:
        status, detail = known, str(error)
    elif isinstance(error, HTTPException):
        status, detail, headers = error.status_code, error.detail, dict(error.headers or {})
    else:
        status, detail = 500, "internal server error"
        route = request.scope.get("path_template") or "an unknown path"
        _log.error("%s %s failed", request.method, route, exc_info=error)
    if status == 503:
        headers["Retry-After"] = str(math.ceil(getattr(error, "retry_after", None) or RETRY_SECONDS))
    if isinstance(error, CorruptState):
        _log.error("%s", error)
    if isinstance(error, Refused):
        refused = RefusedAnswer(detail, error.status, error.recorded)
        return Response(refused, status_code=status, media_type="application/json")
    return Response(ErrorAnswer(detail), status_code=status, headers=headers, media_type="application/json")
