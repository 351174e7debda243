"""The errors of the state.

StoreError
├── ConflictError      other writers came first too often; try again
├── StoreUnavailable   Redis cannot be reached, is not ready, or refuses; try again
├── CorruptState       a key holds what this service never writes; an operator must look at it
└── KeyReused          an idempotency key was used before for another request
"""

__all__ = ["ConflictError", "CorruptState", "KeyReused", "StoreError", "StoreUnavailable"]


class StoreError(Exception):
    """Base of all errors of the state. The update that raised it wrote nothing, unless the message says so."""


class ConflictError(StoreError):
    """Other replicas changed the same user first, in every attempt."""


class StoreUnavailable(StoreError):
    """Redis is away, starting, read-only, full, or too slow. A write may have been made all the same.

    `reads`: it refused a write alone, because it is full, say, and can still be read.
    """

    def __init__(self, message: str, *, reads: bool = False) -> None:
        super().__init__(message)
        self.reads = reads


class CorruptState(StoreError):
    """The key named in the message holds a value of the wrong type, length or content. It is not changed."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}")
        self.key = key
        self.problem = problem


class KeyReused(StoreError):
    """An idempotency key was used before for another request."""
