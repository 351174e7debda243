"""Errors for Azure Personalizer's clients, with the codes of their contract."""

__all__ = ["Refusal"]


class Refusal(Exception):
    """A request that cannot be done: the HTTP status that its clients understand, and the code."""

    def __init__(self, code: str, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
