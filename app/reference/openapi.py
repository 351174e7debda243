"""The OpenAPI document, made from the routes, their descriptions and the messages."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from litestar.handlers import HTTPRouteHandler

from app import __version__
from app.messages.basics import ErrorAnswer, UserId
from app.messages.classic import ProfileFeatures, StatisticsAnswer
from app.messages.decisions import DecisionId, Failed, LoopName, RefusedAnswer
from app.messages.loops import NotYetAnswer
from app.reference.described import Described, Failure
from app.reference.examples import IDEMPOTENCY_KEY, INTRODUCTION, ROUTES, THETA, refusals

__all__ = ["JSON", "document"]

_REF: Final = "#/components/schemas/{name}"
JSON: Final = "application/json"


_PLACES: Final[Mapping[str, Any]] = {"user_id": UserId, "decision_id": DecisionId, "loop": LoopName}
_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "A request with a key that was used before gets the same answer again, and changes nothing.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,128}$"},
    "example": IDEMPOTENCY_KEY,
}


_REPLAYED: Final = {
    "description": "`true` if the same was asked or told before.",
    "schema": {"const": "true"},
}


_RETRY_AFTER: Final = {
    "description": "Seconds after which to try again.",
    "required": True,
    "schema": {"type": "integer", "minimum": 1},
}


def document(routes: Sequence[HTTPRouteHandler], root: str = "") -> dict[str, Any]:
    """An OpenAPI 3.1 document of the described `routes`, in the order of the descriptions. `root` stands before every
    path."""
    roles = {
        f"{method} {path.replace(':str}', '}')}": route.opt.get("role")
        for route in routes
        for path in route.paths
        for method in route.http_methods
    }
    described = {name: row for name, row in ROUTES.items() if name in roles}
    messages = {type(message) for row in described.values() for message in (row.reads, row.answers, row.unwell)}
    types = sorted((type_ for type_ in messages if issubclass(type_, msgspec.Struct)), key=lambda type_: type_.__name__)
    others = [ErrorAnswer, Failed, NotYetAnswer, ProfileFeatures, RefusedAnswer]
    _, schemas = msgspec.json.schema_components([*types, *others], ref_template=_REF)
    # Only the catalog knows the features of the policies.
    schemas[StatisticsAnswer.__name__]["properties"]["theta"]["description"] = THETA
    _settle_presence(schemas, [type(row.reads).__name__ for row in described.values() if row.reads is not None])
    paths: dict[str, dict[str, Any]] = {}
    for name, row in described.items():
        method, _, path = name.partition(" ")
        paths.setdefault(path, {})[method.lower()] = _operation(path, row, roles[name])
    made = {
        "openapi": "3.1.0",
        "info": {"title": "oO Serving", "version": __version__, "description": INTRODUCTION},
        **({"servers": [{"url": root}]} if root else {}),
        "paths": paths,
        "components": {
            "schemas": {
                name: schema | {"description": " ".join(schema["description"].split())}
                for name, schema in sorted(schemas.items())
            },
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "One of the API_KEYS."}},
        },
    }
    _adapt(made)
    return made


def _settle_presence(schemas: dict[str, dict[str, Any]], read: Sequence[str]) -> None:
    """Let `required` alone say which fields are there: what has a default may be left out of a message that is `read`,
    and is always in one that is answered.

    No schema has a `default` any more, since generators for TypeScript take it to mean that the field must be sent. It
    is told in the description, unless it is null.
    """
    requests: set[str] = set()
    left = [name for name in read if name in schemas]
    while left:
        requests.add(name := left.pop())
        inner = re.findall(r'"#/components/schemas/(\w+)"', json.dumps(schemas[name]))
        left += [other for other in inner if other not in requests]
    for name, schema in schemas.items():
        for field, type_ in schema["properties"].items():
            if "default" not in type_:
                continue
            default = type_.pop("default")
            if name not in requests:
                schema["required"].append(field)
            elif default is not None:
                said = f"{type_['description']} " if "description" in type_ else ""
                type_["description"] = f"{said}Default: `{json.dumps(default)}`."


def _adapt(node: object) -> None:
    """Let objects without known fields have any, since some generators would take them for empty ones, and end patterns
    with `$`, which JSON Schema has instead of Python's `\\Z`."""
    if isinstance(node, dict):
        if isinstance(pattern := node.get("pattern"), str) and pattern.endswith(r"\Z"):
            node["pattern"] = pattern.removesuffix(r"\Z") + "$"
        if node.get("type") == "object" and not {"properties", "additionalProperties", "$ref"} & node.keys():
            node["additionalProperties"] = True
        for inner in node.values():
            _adapt(inner)
    elif isinstance(node, list):
        for inner in node:
            _adapt(inner)


def _operation(path: str, row: Described, role: str | None) -> dict[str, Any]:
    names = re.findall(r"\{(\w+)\}", path)
    operation: dict[str, Any] = {
        "operationId": row.name or "_".join(re.findall(r"\w+", re.sub(r"\{\w+\}", "", path))),
        "tags": [row.tag],
        "summary": row.summary,
    }
    if role:
        operation["security"] = [{"key": [role]}, {}]  # {}: without API_KEYS no key is needed
    parameters = [_placed(name, row.place) for name in names] + ([_KEY] if row.idempotent else []) + [*row.query]
    if parameters:
        operation["parameters"] = parameters
    if row.reads is not None:
        operation["requestBody"] = {"required": True, "content": _content(row.reads)}
    good: dict[str, Any] = {"description": "Done."}
    if isinstance(row.answers, str):
        schema = {"type": "object"} if row.answers == JSON else {"type": "string"}
        good["content"] = {row.answers: {"schema": schema}}
    else:
        good["content"] = _content(row.answers)
        good["description"] = " ".join((type(row.answers).__doc__ or "").split())
    if row.idempotent:
        good["headers"] = {"Idempotent-Replayed": _REPLAYED}
    errors = sorted((*row.errors, *(refusals(role) if role else ())), key=lambda error: error.status)
    operation["responses"] = {"200": good}
    operation["responses"] |= {str(error.status): _failure(error) for error in errors}
    if row.unwell is not None:
        headers = {"Retry-After": _RETRY_AFTER}
        unwell = {"description": "The service cannot serve now.", "content": _content(row.unwell), "headers": headers}
        operation["responses"]["503"] = unwell
    return operation


def _placed(name: str, example: str) -> dict[str, Any]:
    schema = msgspec.json.schema(_PLACES[name])
    return {"name": name, "in": "path", "required": True, "schema": schema, "example": example}


def _content(message: msgspec.Struct) -> Mapping[str, Any]:
    return {
        JSON: {"schema": {"$ref": _REF.format(name=type(message).__name__)}, "example": msgspec.to_builtins(message)}
    }


def _failure(failure: Failure) -> dict[str, Any]:
    response = {"description": failure.meaning, "content": _content(failure.answer or ErrorAnswer(failure.detail))}
    return response | ({"headers": {"Retry-After": _RETRY_AFTER}} if failure.status in (429, 503) else {})
