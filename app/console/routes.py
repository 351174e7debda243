"""The console: its pages for people who signed in, the form to sign in, and the files that pages load."""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote

from litestar import HttpMethod, Request, Response, get, post, route
from litestar.exceptions import HTTPException, NotFoundException, PermissionDeniedException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from app.console.doors import Doors, check_origin
from app.console.frame import ASSETS, POLICY, Frame
from app.console.pages import Moved, Page, Shown, Sources, Visit
from app.console.site import made_pages
from app.http.api_keys import Key
from app.http.body import read_body
from app.http.errors import answer_to
from app.messages.reading import Unreadable

__all__ = ["console_routes"]

_ROOT: Final = "/console"
_SIGN_IN: Final = "/sign-in"
_HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
_ASKED: Final = (HttpMethod.GET, HttpMethod.HEAD)
# Of a page to come back to after signing in: nothing that could lead elsewhere.
_BACK: Final = re.compile(r"(/(?!(\.|%2[eE]){1,2}(/|\Z))[A-Za-z0-9._~%@:!,-]{1,300}){0,4}")
_LONGEST_FORM: Final = 262_144
_MOST_FIELDS: Final = 256


def console_routes(
    sources: Sources, doors: Doors, version: str, give_way: Callable[[], Awaitable[None]]
) -> list[HTTPRouteHandler]:
    """The routes of the pages that are made from `sources`, for those whom `doors` let in, in a service of this
    `version`. Work on a page awaits `give_way`."""
    pages = made_pages(sources)
    console = _Console(Frame(pages, version, give_way), doors)

    @route(_ROOT + _SIGN_IN, http_method=_ASKED)
    async def sign_in(request: Request[Any, Any, Any]) -> Response[bytes]:
        return await console.ask_in(request, request.query_params.get("to", ""))

    @post(_ROOT + _SIGN_IN, status_code=200)
    async def begin(request: Request[Any, Any, Any]) -> Response[bytes]:
        return await console.let_in(request)

    @post(f"{_ROOT}/sign-out", status_code=200)
    async def end(request: Request[Any, Any, Any]) -> Response[bytes]:
        check_origin(request)
        return _moved(_base(request) + _SIGN_IN, doors.end(request))

    @get(f"{_ROOT}/assets/{{name:str}}", sync_to_thread=False)
    def asset(name: FromPath[str]) -> Response[bytes]:
        found = ASSETS.get(name)
        if found is None:
            raise NotFoundException
        kept = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
        return Response(found.body, media_type=found.type, headers=kept)

    return [sign_in, begin, end, asset, *(_handler(console, page) for page in pages)]


def _handler(console: "_Console", page: Page) -> HTTPRouteHandler:
    methods = [*_ASKED, HttpMethod.POST] if page.act else [*_ASKED]

    @route(_ROOT + page.path, http_method=methods, status_code=200)
    async def handle(request: Request[Any, Any, Any]) -> Response[bytes]:
        return await console.serve(page, request)

    return handle


class _Console:
    def __init__(self, frame: Frame, doors: Doors) -> None:
        self._frame = frame
        self._doors = doors

    async def serve(self, page: Page, request: Request[Any, Any, Any]) -> Response[bytes]:
        """What `page` answers to a request, or the way to the form that signs people in."""
        visit = self._visit(request, None)
        try:
            key = None if self._doors.is_open else await self._doors.visitor(request)
            if key is None and not self._doors.is_open:
                return _moved(f"{_base(request)}{_SIGN_IN}?to={quote(visit.path, safe='')}")
            visit = self._visit(request, key)
            await self._frame.give_way()
            if request.method != "POST" or page.act is None:
                return await self._answer(await page.show(visit), visit)
            check_origin(request)
            if page.acts_as == "admin" and not visit.acts:
                raise PermissionDeniedException("this needs a key with the role admin")
            done = await page.act(visit, await _form(request))
            return _moved(visit.link(done.path)) if isinstance(done, Moved) else await self._answer(done, visit)
        except Exception as error:  # noqa: BLE001  # answer_to tells those apart that are expected
            return await self._problem(request, error, visit)

    async def ask_in(
        self, request: Request[Any, Any, Any], to: str, problem: HTTPException | None = None
    ) -> Response[bytes]:
        """The form that asks for an API key, and then leads to the page at `to`."""
        if self._doors.is_open:
            return _moved(_base(request))
        values = {"to": to if _BACK.fullmatch(to) else "", "problem": "" if problem is None else problem.detail}
        shown = Shown("sign_in.html", "Sign in", values)
        if problem is None:
            return await self._answer(shown, self._visit(request, None))
        failed = shown._replace(status=problem.status_code)
        return await self._answer(failed, self._visit(request, None), problem.headers or {})

    async def let_in(self, request: Request[Any, Any, Any]) -> Response[bytes]:
        """Begin the session of a person who sent a key."""
        to = ""
        try:
            check_origin(request)
            form = await _form(request)
            to = form.get("to", "")
            cookie = await self._doors.begin(request, form.get("key", ""))
            return _moved(_base(request) + (to if _BACK.fullmatch(to) else ""), cookie)
        except HTTPException as error:
            return await self.ask_in(request, to, error)
        except Exception as error:  # noqa: BLE001  # answer_to tells those apart that are expected
            return await self._problem(request, error, self._visit(request, None))

    async def _problem(self, request: Request[Any, Any, Any], error: Exception, visit: Visit) -> Response[bytes]:
        """A page that says what any other client is answered in JSON."""
        answer = answer_to(request, error)
        status = answer.status_code or 500
        values = {"detail": answer.content.detail, "status": status}
        shown = Shown("problem.html", "That did not work", values, status)
        return await self._answer(shown, visit, answer.headers)

    async def _answer(self, shown: Shown, visit: Visit, headers: Mapping[str, str] = {}) -> Response[bytes]:
        body = await self._frame.page(shown, visit)
        return Response(body, status_code=shown.status, media_type="text/html", headers={**_HEADERS, **headers})

    def _visit(self, request: Request[Any, Any, Any], key: Key | None) -> Visit:
        is_open = self._doors.is_open
        return Visit(
            who="" if key is None else key.name,
            acts=is_open or (key is not None and key.role == "admin"),
            is_open=is_open,
            now=self._doors.clock(),
            base=_base(request),
            path=request.scope["path"].removeprefix(_ROOT),
            parts={name: unquote(str(value)) for name, value in request.path_params.items()},
            query=dict(request.query_params),
        )


def _base(request: Request[Any, Any, Any]) -> str:
    """The relative way from a path to /console, which also holds behind a proxy that adds a prefix."""
    return "../" * (request.scope["path"].count("/") - 1) + _ROOT[1:]


def _moved(location: str, cookie: str | None = None) -> Response[bytes]:
    headers = {**_HEADERS, "Location": location, **({"Set-Cookie": cookie} if cookie else {})}
    return Response(b"", status_code=303, media_type="text/plain", headers=headers)


async def _form(request: Request[Any, Any, Any]) -> dict[str, str]:
    """The fields of a form; of those with one name the last. Raises Unreadable, TooLarge and ClientGone."""
    body = await read_body(request, _LONGEST_FORM)
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict"))
    except ValueError:  # bytes that are not UTF-8, or too many fields
        raise Unreadable(f"takes a form of at most {_MOST_FIELDS} fields in UTF-8") from None
