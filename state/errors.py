"""What can go wrong with the state.

StoreError
├── ConflictError      other writers were first, too often; try again
├── StoreUnavailable   Redis cannot be reached, is not ready, or refuses; try again
├── CorruptState       a key holds what this service never writes; an operator must look at it
└── KeyReused          an idempotency key came again with another request
"""

__all__ = ["ConflictError", "CorruptState", "KeyReused", "StoreError", "StoreUnavailable"]


class StoreError(Exception):
    """Anything wrong with the state; nothing of the update that raised it was written, unless it says so."""


class ConflictError(StoreError):
    """Other replicas changed the same user first, more often than it is worth trying again."""


class StoreUnavailable(StoreError):
    """Redis is away, starting, read-only, full, or too slow; the outcome of a write cut short is unknown."""


class CorruptState(StoreError):
    """The key named in the message holds something of the wrong type, length or value. It is left as it is."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}")
        self.key = key
        self.problem = problem


class KeyReused(StoreError):
    """An idempotency key was used before for a request that said something else."""
