"""The chat-completion format: the request, replies of every shape, and the messages of errors."""

from typing import Any

import msgspec
import pytest

from app.tips.completion import NoCompletion, read, request, said
from app.tips.prompts import Message


def test_request() -> None:
    """Model, temperature and the messages, as the chat API takes them."""
    assert msgspec.json.decode(request([Message("system", "Be brief."), Message("user", "Hi ☎")])) == {
        "model": "tip-generator",
        "temperature": 0.7,
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi ☎"}],
    }


def test_whole_completion() -> None:
    """Text, model and tokens of a completion as a provider sends it."""
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hello"}}
    reply = read(msgspec.json.encode({"id": "c-1", "model": "gpt", "choices": [choice], "usage": usage}))
    assert (reply.content, reply.model, reply.prompt_tokens, reply.completion_tokens) == ("hello", "gpt", 7, 3)
    assert reply.stopped is None


@pytest.mark.parametrize(
    ("body", "content", "tokens"),
    [
        ({"choices": [{"message": {"content": None}}]}, "", (0, 0)),
        ({"choices": []}, "", (0, 0)),
        ({"choices": None, "error": None}, "", (0, 0)),
        ({}, "", (0, 0)),
        ({"choices": [{}]}, "", (0, 0)),
        ({"choices": [{"message": {"content": [{"type": "text", "text": "[1]"}]}}]}, "[1]", (0, 0)),
        (
            {
                "choices": [
                    {
                        "message": {
                            "content": [
                                {"type": "thinking", "thinking": [{"type": "text", "text": "no"}], "text": "no"},
                                {"type": "text", "text": "["},
                                {"type": "text", "text": None},
                                {"type": "image_url", "image_url": {"url": "x"}},
                                {"text": "no"},
                                "no",
                                None,
                                {"type": "output_text", "text": "1]"},
                            ]
                        }
                    }
                ]
            },
            "[1]",
            (0, 0),
        ),
        ({"choices": [{"message": {"content": []}}]}, "", (0, 0)),
        ({"choices": [{"message": {"content": "x"}}], "usage": None}, "x", (0, 0)),
        ({"choices": [{"message": {"content": "x"}}], "usage": [1]}, "x", (0, 0)),
        (
            {"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": 4, "completion_tokens": None}},
            "x",
            (4, 0),
        ),
        (
            {"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": -4, "completion_tokens": "9"}},
            "x",
            (0, 0),
        ),
    ],
)
def test_sparse_completions(body: dict[str, Any], content: str, tokens: tuple[int, int]) -> None:
    """A completion without choices, text, usage or model says nothing, costs nothing and has the usual name."""
    reply = read(msgspec.json.encode(body))
    assert (reply.content, reply.model) == (content, "tip-generator")
    assert (reply.prompt_tokens, reply.completion_tokens) == tokens


@pytest.mark.parametrize(
    ("reason", "refusal", "stopped"),
    [
        ("stop", None, None),
        (None, None, None),
        ("stop", "", None),
        ("length", None, "the reply was cut off at the token limit"),
        ("max_tokens", None, "the reply was cut off at the token limit"),
        ("content_filter", None, "a content filter stopped the reply"),
        ("refusal", None, "the language model refused"),
        ("stop", "I can't.", "the language model refused: I can't."),
        (["length"], ["no"], None),
        (7, 7, None),
    ],
)
def test_stopped(reason: object, refusal: object, stopped: str | None) -> None:
    """Why a reply is shorter than the model would have made it, if a provider says so."""
    choice = {"finish_reason": reason, "message": {"content": "x", "refusal": refusal}}
    assert read(msgspec.json.encode({"choices": [choice]})).stopped == stopped


@pytest.mark.parametrize(
    "body",
    [
        b"<html><body>It works!</body></html>",
        b"",
        b"[]",
        b'"text"',
        b"null",
        b'{"choices": {"message": {}}}',
        b'{"choices": [{"message": {"content": 5}}]}',
        b'{"choices": [{"message": "text"}]}',
        b'{"choices": [',
        b"\xff\xfe",
        b'{"choices": ' + b"[" * 100_000,
        b'{"error": {"message": "upstream said no"}}',
    ],
)
def test_no_completion(body: bytes) -> None:
    """Anything else is refused, with what it is."""
    with pytest.raises(NoCompletion, match=r"^(something that is not a chat completion: .|an error$)"):
        read(body)


def test_error_beside_choices() -> None:
    """An error that comes with choices does not count."""
    assert read(b'{"error": {"code": 0}, "choices": [{"message": {"content": "x"}}]}').content == "x"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"error": {"message": "model\\nnot found", "type": "x"}}', "model not found"),
        (b'{"error": "plain"}', "plain"),
        (b'{"message": "plain"}', "plain"),
        (b'{"detail": "plain"}', "plain"),
        (b'{"detail": [{"loc": 1}]}', '{"detail": [{"loc": 1}]}'),
        (b"Bad\r\nGateway", "Bad Gateway"),
        (b"", ""),
        (b"\xff", "\ufffd"),
        (b"[" * 100_000, "[" * 100_000),
        (rb'{"error": "no \ud83d"}', "no \ufffd"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_said(body: bytes, says: str) -> None:
    """The message is found in the forms that proxies use; else it is the whole body, on one line."""
    assert said(body) == says


def test_half_an_emoji() -> None:
    """A reply that was cut in the middle of an emoji is read with U+FFFD in its place."""
    body = rb'{"choices": [{"message": {"content": "Hi \ud83d", "\ude00": 1}}]}'
    assert read(body).content == "Hi \ufffd"
