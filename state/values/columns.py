"""The columns of a stored model: their labels and definitions, kept once for all models that have the same.

A model names its columns by a fingerprint. Columns with the same label and definition are the same, in any model.
"""

import hashlib
from collections.abc import Iterable
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from state.errors import CorruptState

__all__ = ["MOST", "Columns"]

# Twice what one policy may have, so that the columns of an old and a new file fit together.
MOST: Final = 512
_Label = Annotated[str, Meta(min_length=1, max_length=1_024)]
_Digest = Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
_decode: Final = msgspec.json.Decoder(
    Annotated[list[tuple[_Label, _Digest]], Meta(min_length=1, max_length=MOST)]
).decode


class Columns(msgspec.Struct, frozen=True):
    """Each column's label and the digest of its definition, in the order of the rows of A."""

    pairs: tuple[tuple[str, str], ...]

    @classmethod
    def decode(cls, where: str, text: bytes) -> "Columns":
        """The columns that `encode` wrote. Raises CorruptState, which names `where`."""
        try:
            pairs = _decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise CorruptState(where, f"is not a list of columns: {error}") from None
        if len(set(pairs)) < len(pairs):
            raise CorruptState(where, "has a column twice")
        return cls(tuple(pairs))

    def encode(self) -> bytes:
        """A JSON list of pairs: label and digest."""
        return msgspec.json.encode(self.pairs)

    @property
    def fingerprint(self) -> bytes:
        """24 characters that name these columns in this order."""
        return hashlib.blake2b(self.encode(), digest_size=12).hexdigest().encode()

    @property
    def labels(self) -> list[str]:
        return [label for label, _ in self.pairs]

    def with_all(self, others: Iterable[tuple[str, str]]) -> "Columns":
        """These columns, and after them those of `others` that are not among them."""
        return Columns(tuple(dict.fromkeys((*self.pairs, *others))))
