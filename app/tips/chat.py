"""One chat completion from the LiteLLM proxy, over one shared client, with every way it can fail named.

    LlmError
    ├── LlmNotConfigured   no key: nothing was asked
    ├── LlmUnavailable     not reachable, too slow, too busy: worth trying again, after `retry_after` seconds if known
    └── LlmFailed          it answered, but with an error or with something that is no chat completion

Messages are fit for a client: bounded, and without the key even if the proxy repeats it.
"""

import asyncio
import hashlib
import re
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Self

import httpx

from app.precedence import Precedence
from app.settings import Secret, SettingsError
from app.tips import completion
from app.tips.completion import NoCompletion, Reply
from app.tips.errors import LlmFailed, LlmNotConfigured, LlmUnavailable
from app.tips.prompts import Message
from app.tips.transport import Connections

__all__ = ["TIMEOUT_SECONDS", "ChatClient", "Trace", "connect", "untraced"]

TIMEOUT_SECONDS = 30.0
CONNECT_SECONDS = 5.0


# Calls that start together are answered together, and reading 32 answers in a row keeps every other request waiting.
SPACING_SECONDS = 0.005
REPLY_BYTES = 2 * 1024 * 1024
QUOTE_CHARACTERS = 200
LONGEST_RETRY_AFTER = 86_400.0


# HTTP knows whole seconds only, but proxies send fractions.
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]*)?")


# Around each call; yields headers that the proxy is sent besides.
Trace = Callable[[], AbstractContextManager[Mapping[str, str]]]


def untraced() -> AbstractContextManager[Mapping[str, str]]:
    return nullcontext({})


class ChatClient:
    """Asks the proxy, at most `max_concurrency` times at once; made by `connect`, ended by `async with` or `aclose`."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        url: httpx.URL,
        key: Secret,
        *,
        max_concurrency: int = 32,
        queue_seconds: float = 5.0,
        timeout_seconds: float = TIMEOUT_SECONDS,
        precedence: Precedence | None = None,
        trace: Trace = untraced,
    ) -> None:
        self._http = http
        self._precedence = precedence or Precedence()
        self._trace = trace
        self._url = url
        self._key = key
        self._turns = asyncio.Semaphore(max_concurrency)
        self._next_start = 0.0
        self._queue_seconds = queue_seconds
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
        # Blank out before cutting: half a key must not slip through.
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
        async with self._turn():
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

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """One of the places for calls in flight; LlmUnavailable if none is free in time."""
        try:
            async with asyncio.timeout(self._queue_seconds):
                await self._turns.acquire()
        except TimeoutError:
            raise LlmUnavailable("too many calls to the LLM proxy at once", retry_after=1.0) from None
        try:
            now = asyncio.get_running_loop().time()
            self._next_start = max(now, self._next_start)
            wait = self._next_start - now
            self._next_start += SPACING_SECONDS
            if wait:
                await asyncio.sleep(wait)
            yield
        finally:
            self._turns.release()

    async def _ask(self, content: bytes, headers: Mapping[str, str]) -> tuple[httpx.Response, bytes]:
        """The answer and its body; asks a second time if the connection breaks before an answer's head is complete."""
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
            # Most often a kept-alive connection that the proxy closed as we used it.
            response = await self._http.send(request, stream=True)
        try:
            # A head took a quarter of a millisecond to read, and others have waited for it.
            await self._precedence.give_way()
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > REPLY_BYTES:
                    raise LlmFailed(f"the LLM proxy's answer is longer than {REPLY_BYTES} bytes")
            return response, bytes(body)
        finally:
            await response.aclose()
            # httpx's streams know their response, and such a circle would be left to the garbage collector.
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

    Raises SettingsError if LITELLM_URL or LITELLM_MASTER_KEY cannot be used. `transport` replaces the network;
    between the steps of a call it gives way to those within `precedence`.
    """
    http = httpx.AsyncClient(
        # The system's certificates and SSL_CERT_FILE, but neither proxies nor .netrc from the environment:
        # the key goes to LITELLM_URL and nowhere else.
        transport=transport or Connections(ssl.create_default_context()),
        trust_env=False,
        # The body is bounded as it comes in; a compressed one could only be bounded once unpacked.
        headers={"Accept": "application/json", "Accept-Encoding": "identity"},
        # Nothing of one call goes with the next, which is another user's.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        timeout=httpx.Timeout(timeout_seconds, connect=min(CONNECT_SECONDS, timeout_seconds)),
    )
    return ChatClient(
        http,
        httpx.URL(f"{_base(url)}/chat/completions"),
        _header_safe(key),
        max_concurrency=max_concurrency,
        queue_seconds=queue_seconds,
        timeout_seconds=timeout_seconds,
        precedence=precedence,
        trace=trace,
    )


def _base(url: str) -> str:
    """`url` without its last slash; raises SettingsError unless it is http(s) with a host and nothing secret in it."""
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        parts = httpx.URL()
    if parts.scheme not in ("http", "https") or not parts.host or "%" in parts.host or (parts.port or 1) > 65_535:
        raise SettingsError(
            "LITELLM_URL: takes http://host:port or https://host:port, with a path if the proxy has one"
        )
    if parts.userinfo or parts.query or parts.fragment:
        raise SettingsError(
            "LITELLM_URL: takes no credentials, query or fragment; the key goes into LITELLM_MASTER_KEY"
        )
    return url.rstrip("/")


def _header_safe(key: Secret) -> Secret:
    """`key` without the line end a mounted file brings; raises SettingsError if no header can carry it."""
    text = key.reveal().strip()
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise SettingsError("LITELLM_MASTER_KEY: takes printable ASCII without blanks")
    return Secret(text)


def _seconds(header: str) -> float | None:
    """A Retry-After header, seconds or a date, as seconds from now between 0 and a day; None if it is neither."""
    try:
        seconds = (
            float(header) if _NUMBER.fullmatch(header) else parsedate_to_datetime(header).timestamp() - time.time()
        )
    except (ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)
