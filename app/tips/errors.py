"""Every way in which asking the language model can fail.

LlmError
├── LlmNotConfigured   no key: nothing was asked
├── LlmUnavailable     not reachable, too slow or too busy: try again, after `retry_after` seconds if known
└── LlmFailed          it answered, but with an error or with something that is not a chat completion
"""

__all__ = ["LlmError", "LlmFailed", "LlmNotConfigured", "LlmUnavailable"]


class LlmError(Exception):
    """The reply cannot be used; `detail` tells the client why, in one line."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class LlmNotConfigured(LlmError):
    """The service has no key for the language model."""


class LlmUnavailable(LlmError):
    """The proxy cannot be reached, is too slow or too busy; `retry_after` in seconds if a time is known."""

    def __init__(self, detail: str, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class LlmFailed(LlmError):
    """The proxy answered with an error, or with something that cannot be used."""
