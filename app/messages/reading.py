"""How a request body is read: strictly, after known faults are mended."""

from collections.abc import Iterable
from typing import Generic, TypeVar

import msgspec

from app.messages.decoding import decoded

__all__ = ["Reader", "Unreadable", "read_query"]

T = TypeVar("T")


class Unreadable(ValueError):
    """A body is not a valid message. The text says where and why."""


class Reader(Generic[T]):
    """Reads bodies of one type; with `untyped` a number too large for a float is infinite where any type is allowed.

    Bodies with the faults that `app.messages.decoding` mends are read too: in a profile NaN counts as absent.
    """

    def __init__(self, type_: type[T], *, untyped: type[float] | None = None) -> None:
        self._decode = msgspec.json.Decoder(type_, strict=False, float_hook=untyped).decode
        # The same where it succeeds, without a call for each number.
        self._usual = msgspec.json.Decoder(type_, strict=False).decode

    def __call__(self, body: bytes) -> T:
        """The message in `body`. Raises Unreadable with what is wrong and where."""
        try:
            if not body.isascii():
                body.decode()  # msgspec does not check fields that it ignores
            try:
                return self._usual(body)
            except msgspec.DecodeError:
                pass
            return decoded(self._decode, body, loose="profile_features")
        except msgspec.ValidationError as error:
            raise Unreadable(str(error)) from None
        except msgspec.DecodeError as error:
            raise Unreadable(f"the body is not JSON: {error}") from None
        except UnicodeDecodeError:
            raise Unreadable("the body is not UTF-8") from None
        except RecursionError:
            raise Unreadable("the body is nested too deeply") from None


def read_query(type_: type[T], pairs: Iterable[tuple[str, str]]) -> T:
    """The message in the parameters of a query, of which the last of each name counts. Raises Unreadable."""
    try:
        return msgspec.convert(dict(pairs), type_, strict=False)
    except msgspec.ValidationError as error:
        raise Unreadable(str(error)) from None
