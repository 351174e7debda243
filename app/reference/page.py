"""The OpenAPI document as one HTML page without a script, under a policy that lets nothing be loaded."""

import base64
import hashlib
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any, Final

__all__ = ["POLICY", "render"]

Node = Mapping[str, Any]

_STYLE: Final = """
:root { color-scheme: light dark; --line: #d5d9e0; --soft: #f3f5f8; --faint: #5b6472;
  --get: #17683a; --post: #1d4fa3; --delete: #a12b25 }
@media (prefers-color-scheme: dark) {
  :root { --line: #3a414d; --soft: #1f242c; --faint: #a3adbb; --get: #6fd39a; --post: #8fb8ff; --delete: #f5a19b }
}
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1rem; max-width: 60rem; font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere }
h1 { margin: 0 } h2 { margin: 2rem 0 .5rem; text-transform: capitalize } h3 { margin: 1rem 0 .25rem; font-size: 1rem }
p { margin: .25rem 0 .5rem } .faint { color: var(--faint) }
code, pre { font: .875rem/1.45 ui-monospace, monospace }
pre { margin: .25rem 0; padding: .6rem; background: var(--soft); border-radius: 6px; white-space: pre-wrap }
details { margin: .4rem 0; border: 1px solid var(--line); border-radius: 6px }
summary { padding: .5rem .7rem; cursor: pointer } details > div { padding: 0 .7rem .7rem }
summary b { display: inline-block; min-width: 4.6rem; margin-right: .4rem }
.get { color: var(--get) } .post { color: var(--post) } .delete { color: var(--delete) }
summary > code:first-of-type { font-weight: 600; margin-right: .6rem }
table { width: 100%; border-collapse: collapse; font-size: .9rem; overflow-wrap: break-word }
th, td { padding: .3rem .6rem .3rem 0; border-top: 1px solid var(--line); text-align: left; vertical-align: top }
@media (max-width: 40rem) {
  th { display: none } td { display: block; padding: 0; border: 0 } tr { display: block; padding: .4rem 0 }
  td:first-child { border-top: 1px solid var(--line) }
}
"""
_DIGEST: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_DIGEST}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HOST: Final = "http://localhost:8000"  # before the path of the server that the document names
_UNBOUNDED: Final = 1e300  # a bound beyond this only says that a number is finite


def render(document: Node) -> str:
    """The page of an OpenAPI document that `app.reference.openapi.document` has made."""
    info = document["info"]
    return "".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(info['title'])}</title><style>{_STYLE}</style></head><body>",
            f'<h1>{escape(info["title"])}</h1><p class="faint">version {escape(info["version"])} · ',
            f'<a href="schema/openapi.json">OpenAPI {document["openapi"]} document</a></p>',
            *(f"<p>{_text(part)}</p>" for part in info["description"].split("\n\n")),
            *_operations(document),
            "<h2>Messages</h2>",
            *(_schema(name, schema) for name, schema in document["components"]["schemas"].items()),
            "</body></html>",
        ]
    )


def _operations(document: Node) -> Iterator[str]:
    root = document.get("servers", [{"url": ""}])[0]["url"]
    rows = [
        (operation["tags"][0], method, path, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]
    for tag, group in groupby(rows, key=lambda row: row[0]):
        yield f"<h2>{escape(tag)}</h2>"
        for _, method, path, operation in group:
            yield _operation(method, path, operation, root)


# An id is on an element inside `details`: following a link to it unfolds them.


def _operation(method: str, path: str, operation: Node, root: str) -> str:
    parts = [
        f'<details><summary><b class="{method}">{method.upper()}</b>',
        f"<code>{escape(path)}</code> {_text(operation['summary'])}</summary>",
        f'<div id="{escape(operation["operationId"])}">',
    ]
    roles = [role for scheme in operation.get("security", []) for names in scheme.values() for role in names]
    parts += [f'<p class="faint">Role: {escape(role)}</p>' for role in roles]
    parameters = operation.get("parameters", [])
    if parameters:
        rows = [
            (f"<code>{escape(row['name'])}</code>", row["in"], _type(row["schema"]), _text(row.get("description", "")))
            for row in parameters
        ]
        parts += ["<h3>Parameters</h3>", _table(("name", "in", "takes", ""), rows)]
    words = f"curl {'' if method == 'get' else f'-X {method.upper()} '}{_HOST}{root}{path}"
    for row in parameters:
        words = words.replace(f"{{{row['name']}}}", row.get("example", ""))
        if row["in"] == "header" and row.get("required"):
            header = f"{row['name']}: {row['example']}"
            words += f" -H {shlex.quote(header)}"
    parts.append("<h3>Request</h3>")
    if "requestBody" in operation:
        ((media, body),) = operation["requestBody"]["content"].items()
        parts.append(f"<p>{_type(body['schema'])}</p>")
        words = f"{words} -H 'content-type: {media}' -d {shlex.quote(_json(body['example']))}"
    parts += [f"<pre>{escape(words)}</pre>", "<h3>Answers</h3>"]
    for status, response in operation["responses"].items():
        parts += _answer(status, response)
    return "".join([*parts, "</div></details>"])


def _answer(status: str, response: Node) -> Iterator[str]:
    ((media, content),) = response["content"].items()
    kind = _type(content["schema"]) if media == "application/json" else f"<code>{escape(media)}</code>"
    yield f"<p><b>{status}</b> {kind} {_text(response['description'])}"
    for name, header in response.get("headers", {}).items():
        yield f" Header <code>{escape(name)}</code>: {_text(header['description'])}"
    yield "</p>"
    if "example" in content:
        yield f"<pre>{escape(_json(content['example']))}</pre>"


def _schema(name: str, schema: Node) -> str:
    rows = [
        (
            f"<code>{escape(field)}</code>",
            _type(type_) + (f"<br>{_text(type_['description'])}" if "description" in type_ else ""),
            "required" if field in schema["required"] else "",
        )
        for field, type_ in schema["properties"].items()
    ]
    head = f"<code>{escape(name)}</code> {_text(schema['description'])}"
    table = _table(("field", "is", ""), rows)
    return f'<details><summary>{head}</summary><div id="{escape(name)}">{table}</div></details>'


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    cells = "".join(f"<th>{name}</th>" for name in head)
    lines = ("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{cells}</tr>{''.join(lines)}</table>"


def _type(schema: Node) -> str:
    """A schema in a few words, with links to the messages it refers to."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_type(choice) for choice in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return ", ".join(
            f"<code>{escape(json.dumps(value))}</code>" for value in schema.get("enum", [schema.get("const")])
        )
    words = str(schema.get("type", "anything"))
    if words == "array" and isinstance(schema.get("items"), Mapping):
        words = f"array of {_type(schema['items'])}"
    if words == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        words = f"object of {_type(schema['additionalProperties'])}"
    for lowest, highest, unit in (
        ("minimum", "maximum", ""),
        ("minLength", "maxLength", " characters"),
        ("minItems", "maxItems", " items"),
    ):
        low, high = schema.get(lowest), schema.get(highest)
        if high is not None and high < _UNBOUNDED:
            words += f", {low:g} to {high:g}{unit}" if low is not None else f", at most {high:g}{unit}"
        elif low is not None and low > -_UNBOUNDED:
            words += f", {low:g}{unit} or more"
    return words + (f", <code>{escape(schema['pattern'])}</code>" if "pattern" in schema else "")


def _text(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _json(value: object) -> str:
    """JSON for people: short messages and lists of plain values on one line."""
    line = json.dumps(value, ensure_ascii=False)
    if len(line) <= 90:
        return line
    return re.sub(
        r"\[[^][{}]*\]",
        lambda match: re.sub(r"\s+", " ", match[0]).replace("[ ", "[").replace(" ]", "]"),
        json.dumps(value, indent=2, ensure_ascii=False),
    )
