"""The page of a document, in HTML that runs and loads nothing."""

import base64
import hashlib
import re
from typing import Any

from app.reference.page import POLICY, render


def page(**changes: Any) -> str:
    operation: dict[str, Any] = {
        "operationId": "put",
        "tags": ["things"],
        "summary": "put a `thing` <b>",
        "security": [{"key": ["admin"]}, {}],
        "parameters": [{"name": "id", "in": "path", "schema": {"type": "string", "maxLength": 9}, "example": "ann"}],
        "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/c/Thing"}, "example": {"a": "it's"}}}},
        "responses": {"200": {"description": "Done.", "content": {"text/plain": {"schema": {"type": "string"}}}}},
    }
    thing = {"description": "A thing.", "required": ["a"], "properties": {"a": {"type": "string"}}}
    return render(
        {
            "openapi": "3.1.0",
            "info": {"title": "T", "version": "1", "description": "One.\n\nTwo."},
            "paths": {"/things/{id}": {"post": operation}},
            "components": {"schemas": {"Thing": thing | {"properties": {"a": {"type": "string"}, **changes}}}},
        }
    )


def test_text_is_escaped_and_code_is_marked() -> None:
    """Nothing of the document becomes markup."""
    html = page()
    assert "put a <code>thing</code> &lt;b&gt;" in html
    assert "<p>One.</p><p>Two.</p>" in html
    assert "<script" not in html


def test_the_policy_allows_the_one_style() -> None:
    """By its hash, and nothing else."""
    [style] = re.findall(r"<style>(.*?)</style>", page(), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert POLICY.startswith(f"default-src 'none'; style-src 'sha256-{digest}';")


def test_the_command_can_be_pasted() -> None:
    """It has the example's id and its body, quoted for a shell. The role is shown."""
    html = page()
    assert "curl -X POST http://localhost:8000/things/ann" in html
    assert """-d &#x27;{&quot;a&quot;: &quot;it&#x27;&quot;&#x27;&quot;&#x27;s&quot;}&#x27;""" in html
    assert "Role: admin" in html


def test_types_are_said_in_words() -> None:
    """Bounds, choices, lists, objects, links to messages; a bound that only says "finite" is left out."""
    for schema, words in (
        ({"type": "integer", "minimum": 1, "maximum": 4}, "integer, 1 to 4"),
        ({"type": "string", "minLength": 1}, "string, 1 characters or more"),
        ({"type": "array", "items": {"type": "number"}, "maxItems": 3}, "array of number, at most 3 items"),
        ({"type": "number", "minimum": -1.7e308, "maximum": 1.7e308}, "<td>number</td>"),
        ({"anyOf": [{"$ref": "#/c/Thing"}, {"type": "null"}]}, '<a href="#Thing">Thing</a> or null'),
        ({"type": "object", "additionalProperties": {"type": "string"}}, "object of string"),
        ({"enum": ["a", 1]}, "<code>&quot;a&quot;</code>, <code>1</code>"),
        ({"type": "string", "pattern": "^<$"}, "<code>^&lt;$</code>"),
    ):
        assert words in page(b=schema), words
