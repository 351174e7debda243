"""Templates made into pages, and the files that pages load."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from app.console.pages import Page, Shown, Visit
from app.drawing.words import FILTERS

__all__ = ["ASSETS", "POLICY", "Asset", "Frame"]

# A page loads nothing from elsewhere, has no inline script or style, and cannot be framed.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
# Seconds of work on a page after which it gives way to decisions.
_SLICE: Final = 0.001
_HERE: Final = Path(__file__).parent
_TYPES: Final = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


class Asset(NamedTuple):
    """A file that pages load: its bytes, what they are, and a digest that names them."""

    body: bytes
    type: str
    digest: str


def _asset(path: Path) -> Asset:
    body = path.read_bytes()
    return Asset(body, _TYPES[path.suffix], hashlib.sha256(body).hexdigest()[:12])


ASSETS: Final[Mapping[str, Asset]] = {
    path.name: _asset(path) for path in sorted((_HERE / "assets").iterdir()) if path.suffix in _TYPES
}


@cache
def _templates() -> Environment:
    """All templates, compiled once in a process."""
    found = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        cache_size=-1,
    )
    found.filters |= {**FILTERS, "quoted": lambda text: quote(text, safe="")}
    for name in found.list_templates():
        found.get_template(name)
    return found


class Frame:
    """Makes the pages of the console, which has `pages`, in a service of this `version`.

    Between two slices of its work on a page it awaits `give_way`.
    """

    def __init__(self, pages: Sequence[Page], version: str, give_way: Callable[[], Awaitable[None]]) -> None:
        self._pages = [page for page in pages if page.name]
        self._version = version
        self.give_way = give_way
        self._templates: Environment | None = None

    async def page(self, shown: Shown, visit: Visit) -> bytes:
        """A page in UTF-8."""
        asset = {name: visit.link(f"/assets/{name}?v={each.digest}") for name, each in ASSETS.items()}
        given = {"asset": asset, "visit": visit, "link": visit.link, "title": shown.title, "version": self._version}
        if self._templates is None:
            # Not at the start, since most replicas never show a page, and not here, where decisions would wait.
            self._templates = await asyncio.to_thread(_templates)
        await self.give_way()
        pieces, clock = [], asyncio.get_running_loop().time
        until = clock() + _SLICE
        template = self._templates.get_template(shown.template)
        for piece in template.generate({**given, "pages": self._pages, **shown.values}):
            pieces.append(piece)
            if clock() >= until:
                await self.give_way()
                until = clock() + _SLICE
        return "".join(pieces).encode()
