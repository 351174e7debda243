"""GET /metrics."""

import hashlib
import hmac
from typing import Any

from litestar import Request, Response, get
from litestar.exceptions import NotAuthorizedException
from litestar.handlers import HTTPRouteHandler

from app.http.access import CHALLENGE
from app.http.api_keys import bearer_digest
from app.observe.metrics import CONTENT_TYPE, Metrics
from app.settings import Secret

__all__ = ["metrics_routes"]


def metrics_routes(metrics: Metrics, key: Secret) -> list[HTTPRouteHandler]:
    """GET /metrics, which needs `key` as a bearer token unless `key` is empty."""
    wanted = hashlib.sha256(key.reveal().strip().encode(errors="surrogateescape")).digest()

    @get("/metrics", sync_to_thread=False)
    def scrape(request: Request[Any, Any, Any]) -> Response[bytes]:
        if key and not hmac.compare_digest(bearer_digest(request.headers.get("authorization", "")), wanted):
            raise NotAuthorizedException("METRICS_KEY is needed as a bearer token", headers=CHALLENGE)
        return Response(metrics.text(), media_type=CONTENT_TYPE)

    return [scrape]
