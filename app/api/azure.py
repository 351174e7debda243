"""How Azure Personalizer's clients are answered: their paths, their key, and errors in their shape."""

import hashlib
import hmac
import logging
import math
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import unquote_to_bytes

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from app.http.api_keys import bearer_digest
from app.http.body import Incoming, read_body
from app.http.errors import RETRY_SECONDS, status_of
from app.http.heads import by_name
from app.messages.personalizer import PREFIX, problem
from app.messages.reading import Unreadable
from app.personalizer.errors import Refusal
from app.settings import SettingsError
from state.errors import CorruptState

__all__ = ["Call", "Facade", "Reply", "Route"]

_log: Final = logging.getLogger("oo.http")
# Their service had a path for each version, and at last one for all.
_PATH: Final = re.compile(r"/personalizer(?:/v1\.0|/v1\.1-preview(?:\.[123])?)?(?P<rest>/.*)")
_PARAMETER: Final = re.compile(r"\{[a-z_]+\}")
_REQUEST_ID: Final = re.compile(r"[\x21-\x7e]{1,128}")
_JSON: Final = (b"content-type", b"application/json")
_encode: Final = msgspec.json.Encoder().encode


class Reply(NamedTuple):
    """An answer: a message as JSON, bytes as they are, or nothing."""

    status: int
    message: Any = None
    headers: Sequence[tuple[bytes, bytes]] = ()


class Call(NamedTuple):
    """A request to one of the routes; `parameter` is what its path has in braces, decoded."""

    incoming: Incoming
    parameter: str
    most: int

    async def body(self) -> bytes:
        """Raises TooLarge and ClientGone."""
        return await read_body(self.incoming, self.most)

    def header(self, name: bytes) -> str:
        """The first header of this name, "" without one."""
        found = (value for key, value in self.incoming.scope["headers"] if key == name)
        return next(found, b"").decode("latin-1").strip()

    @property
    def request_id(self) -> str:
        """What marks a request that is repeated; "" if nothing does."""
        found = self.header(b"x-ms-client-request-id")
        return found if _REQUEST_ID.fullmatch(found) else ""


class Route(NamedTuple):
    """A method and the end of a path; `code` names what is wrong with a request to it."""

    method: str
    path: str
    code: str
    handle: Callable[[Call], Awaitable[Reply]]


class Facade:
    """Serves `routes` to those who have one of the keys in `keys`, which commas separate; all else is for `app`.

    Raises SettingsError where there is no key between the commas.
    """

    def __init__(self, app: ASGIApp, routes: Iterable[Route], keys: str, *, max_body_bytes: int) -> None:
        self._app = app
        self._keys = [hashlib.sha256(key.strip().encode()).digest() for key in keys.split(",") if key.strip()]
        if not self._keys:
            raise SettingsError("PERSONALIZER_KEY: holds no key; leave it empty to turn the paths off")
        self._most = max_body_bytes
        self._routes: dict[str, dict[str, Route]] = {}
        for route in routes:
            self._routes.setdefault(route.path, {})[route.method] = route
        self._forms = {path: re.compile(_PARAMETER.sub("([^/]+)", path)) for path in self._routes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or not scope["path"].startswith(PREFIX):
            await self._app(scope, receive, send)
            return
        code = "BadRequest"
        try:
            path, parameter = self._found(scope["path"])
            if path:
                scope["path_template"] = f"{PREFIX.rstrip('/')}{path}"
            self._check_key(scope)
            methods = self._routes.get(path)
            if methods is None:
                raise Refusal("ResourceNotFound", "there is nothing at this path", status=404)
            route = methods.get(scope["method"])
            if route is None:
                reply = _not_allowed(", ".join(methods))
            else:
                code = route.code
                reply = await route.handle(Call(Incoming(scope, receive), _decoded(parameter), self._most))
        except Exception as error:  # noqa: BLE001  # as Litestar does
            reply = _failed(scope, error, code)
        await _send(send, reply)

    def _found(self, path: str) -> tuple[str, str]:
        """The path among ours, "" for none, and its parameter."""
        found = _PATH.fullmatch(path)
        for known, form in self._forms.items() if found else ():
            if match := form.fullmatch(found["rest"] if found else ""):
                return known, match[1] if match.groups() else ""
        return "", ""

    def _check_key(self, scope: HTTPScope) -> None:
        """All keys are compared, so that the time it takes reveals nothing."""
        headers = by_name(scope)
        sent = headers.get(b"ocp-apim-subscription-key")
        bearer = headers.get(b"authorization", b"").decode("latin-1")
        digest = bearer_digest(bearer) if sent is None else hashlib.sha256(sent).digest()
        if sum(hmac.compare_digest(key, digest) for key in self._keys) == 0:
            sends = "this key is none of PERSONALIZER_KEY" if sent or bearer else "a key is needed"
            message = f"access denied: {sends}, as Ocp-Apim-Subscription-Key or as a bearer token"
            raise Refusal("401", message, status=401)


def _decoded(parameter: str) -> str:
    try:
        return unquote_to_bytes(parameter).decode()
    except UnicodeDecodeError:
        raise Unreadable("the path is not UTF-8") from None


def _not_allowed(methods: str) -> Reply:
    return Reply(
        405, problem("OperationNotAllowed", f"this path takes {methods}"), [_JSON, (b"allow", methods.encode())]
    )


def _failed(scope: HTTPScope, error: Exception, code: str) -> Reply:
    """The answer to a request that ended in `error`; only one that may succeed later says when to try again."""
    headers: list[tuple[bytes, bytes]] = [_JSON]
    if isinstance(error, Refusal):
        status, said = error.status, problem(error.code, str(error))
        if status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        return Reply(status, said, headers)
    known = status_of(error)
    if known is None or known == 500:
        _log.error("%s %s failed", scope["method"], scope.get("path_template"), exc_info=error)
        said = problem("InternalServerError", str(error) if isinstance(error, CorruptState) else "internal error")
        return Reply(500, said, headers)
    if known == 503:
        wait = math.ceil(getattr(error, "retry_after", None) or RETRY_SECONDS)
        return Reply(503, problem("ServiceUnavailable", str(error)), [*headers, (b"retry-after", b"%d" % wait)])
    if known == 413:
        return Reply(413, problem("PayloadSizeExceeded", str(error)), headers)
    return Reply(known if known == 499 else 400, problem(code, str(error)), headers)


async def _send(send: Send, reply: Reply) -> None:
    body = reply.message if isinstance(reply.message, bytes) else b""
    headers = [*reply.headers]
    if reply.message is not None and not isinstance(reply.message, bytes):
        body = _encode(reply.message)
        headers.append(_JSON)
    if reply.status != 204:
        headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
