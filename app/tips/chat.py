"""One chat completion from the LiteLLM proxy, over one shared client; every failure is an error of `app.tips.errors`.

Error messages may be shown to a client: they are bounded, and never hold the key, even if the proxy repeats it.
"""

import asyncio
import hashlib
import re
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final, Self

import httpx

from app.precedence import Precedence
from app.settings import Secret
from app.tips import completion
from app.tips.address import base_url, header_safe
from app.tips.completion import NoCompletion, Reply
from app.tips.errors import LlmFailed, LlmNotConfigured, LlmUnavailable
from app.tips.prompts import Message
from app.tips.transport import Connections
from app.tips.turns import Turns

__all__ = ["TIMEOUT_SECONDS", "ChatClient", "Trace", "connect", "untraced"]

TIMEOUT_SECONDS: Final = 30.0
CONNECT_SECONDS: Final = 5.0
REPLY_BYTES: Final = 2 * 1024 * 1024
QUOTE_CHARACTERS: Final = 200
LONGEST_RETRY_AFTER: Final = 86_400.0

# HTTP has whole seconds only, but proxies send fractions.
_NUMBER: Final = re.compile(r"[0-9]+(?:\.[0-9]*)?")

# Put around each call; yields headers to send to the proxy besides.
Trace = Callable[[], AbstractContextManager[Mapping[str, str]]]


def untraced() -> AbstractContextManager[Mapping[str, str]]:
    """A `Trace` that records nothing."""
    return nullcontext({})


class ChatClient:
    """Asks the proxy for chat completions; made by `connect`, closed by `async with` or `aclose`."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        url: httpx.URL,
        key: Secret,
        turns: Turns,
        *,
        timeout_seconds: float,
        precedence: Precedence,
        trace: Trace,
    ) -> None:
        self._http = http
        self._precedence = precedence
        self._trace = trace
        self._url = url
        self._key = key
        self._turns = turns
        self._timeout_seconds = timeout_seconds
        shown = key.reveal()
        # The proxy names a wrong key by its last four characters and by its hash.
        secrets = [shown, hashlib.sha256(shown.encode()).hexdigest(), f"sk-...{shown[-4:]}"] if shown else []
        self._secrets = [Secret(text) for text in sorted(secrets, key=len, reverse=True)]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections; calls still in flight fail."""
        await self._http.aclose()

    def quote(self, text: str) -> str:
        """The first 200 characters of `text` without the key, for an error's detail."""
        # Replaced before the text is cut, so that no part of a key is left at its end.
        for secret in self._secrets:
            text = text.replace(secret.reveal(), "***")
        return text[:QUOTE_CHARACTERS]

    async def chat(self, messages: Sequence[Message]) -> Reply:
        """One chat completion within the time-out; raises LlmNotConfigured, LlmUnavailable or LlmFailed."""
        if not self._key:
            raise LlmNotConfigured("LITELLM_MASTER_KEY is not set: no tips can be generated")
        with self._trace() as headers:
            return await self._chat(messages, headers)

    async def _chat(self, messages: Sequence[Message], headers: Mapping[str, str]) -> Reply:
        async with self._turns.turn():
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    response, body = await self._ask(completion.request(messages), headers)
            except (TimeoutError, httpx.TimeoutException):
                raise LlmUnavailable("the LLM proxy did not answer in time") from None
            except httpx.DecodingError as error:
                raise LlmFailed(f"the LLM proxy's answer cannot be decoded: {self.quote(str(error))}") from None
            except httpx.TransportError as error:
                why = self.quote(str(error)) or type(error).__name__
                raise LlmUnavailable(f"the LLM proxy cannot be reached: {why}") from None
        await self._precedence.give_way()
        return self._reply(response, body)

    async def _ask(self, content: bytes, headers: Mapping[str, str]) -> tuple[httpx.Response, bytes]:
        """The answer and its body; asks once more if the connection breaks before the head of an answer is complete."""
        request = self._http.build_request(
            "POST",
            self._url,
            content=content,
            headers={
                **headers,
                "Authorization": f"Bearer {self._key.reveal()}",
                "Content-Type": "application/json",
            },
        )
        await self._precedence.give_way()
        try:
            response = await self._http.send(request, stream=True)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            # Most often the proxy closed a kept-alive connection while we were about to use it.
            response = await self._http.send(request, stream=True)
        try:
            # Reading the head took a quarter of a millisecond, and decisions have waited for it.
            await self._precedence.give_way()
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > REPLY_BYTES:
                    raise LlmFailed(f"the LLM proxy's answer is longer than {REPLY_BYTES} bytes")
            return response, bytes(body)
        finally:
            await response.aclose()
            # In httpx 0.28 stream and response refer to each other, so only the garbage collector would free them. This
            # can go with a release that has https://github.com/encode/httpx/pull/3733.
            response.stream = httpx.ByteStream(b"")

    def _reply(self, response: httpx.Response, body: bytes) -> Reply:
        if response.status_code == 429:
            after = _seconds(response.headers.get("Retry-After", ""))
            said = self.quote(completion.said(body))
            raise LlmUnavailable(f"the LLM proxy is over its limit: {said}", retry_after=after)
        if not response.is_success:
            raise LlmFailed(f"the LLM proxy answered {response.status_code}: {self.quote(completion.said(body))}")
        try:
            return completion.read(body)
        except NoCompletion as error:
            what, said = self.quote(str(error)), self.quote(completion.said(body))
            raise LlmFailed(f"the LLM proxy answered with {what}: {said}") from None


def connect(
    *,
    url: str,
    key: Secret,
    max_concurrency: int,
    queue_seconds: float,
    timeout_seconds: float = TIMEOUT_SECONDS,
    precedence: Precedence | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
    trace: Trace = untraced,
) -> ChatClient:
    """A client for the proxy at `url`; opens no connection yet.

    At most `max_concurrency` calls are in flight; another one waits `queue_seconds` for its turn. Each step of a call
    gives way to the decisions of `precedence`. `transport` replaces the network in tests. Raises SettingsError if
    LITELLM_URL or LITELLM_MASTER_KEY cannot be used.
    """
    http = httpx.AsyncClient(
        # The system's certificates and SSL_CERT_FILE count, but neither proxies nor .netrc from the environment:
        # the key goes to LITELLM_URL and nowhere else.
        transport=transport or Connections(ssl.create_default_context()),
        trust_env=False,
        # The body is bounded as it arrives, and a compressed one could only be bounded after it is unpacked.
        headers={"Accept": "application/json", "Accept-Encoding": "identity"},
        # Cookies of one user's call must not go with the next user's.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        timeout=httpx.Timeout(timeout_seconds, connect=min(CONNECT_SECONDS, timeout_seconds)),
    )
    return ChatClient(
        http,
        httpx.URL(f"{base_url(url)}/chat/completions"),
        header_safe(key),
        Turns(max_concurrency, queue_seconds),
        timeout_seconds=timeout_seconds,
        precedence=precedence or Precedence(),
        trace=trace,
    )


def _seconds(header: str) -> float | None:
    """A Retry-After header, seconds or a date, as seconds from now between 0 and a day; None if it is neither."""
    try:
        seconds = (
            float(header) if _NUMBER.fullmatch(header) else parsedate_to_datetime(header).timestamp() - time.time()
        )
    except (ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)
