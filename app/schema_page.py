"""The OpenAPI document as one HTML page without scripts: nothing to load, nothing to keep up to date."""

import base64
import hashlib
import html
from typing import Any, Final

__all__ = ["POLICY", "render"]

_STYLE: Final = ""
_DIGEST: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_DIGEST}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def render(document: dict[str, Any]) -> str:
    """The page that shows an OpenAPI document."""
    return html.escape(str(document))
