"""Counts of fields that no feature reads, of features without a value, and of an apprentice's agreement.
Counts in memory, bounded."""

from collections.abc import Iterable
from typing import Final, Literal

__all__ = ["MOST_FIELDS", "Name", "Of", "Unread"]

# Clients choose the names of fields.
MOST_FIELDS: Final = 64
_LONGEST_NAME: Final = 64
Of = Literal["context", "user", "candidate"]
# Where a field is, and what it is called.
Name = tuple[Of, str]


class Unread:
    """The counts of one loop: of `decisions`, how many brought each of `fields`, and how many had no value for each of
    `features`.

    The first 64 names of fields are kept; `others` counts the fields of later names. In `imitated` decisions something
    was shown whatever the policies would have chosen, and in `matched` of these the champion would have chosen it too.
    """

    def __init__(self) -> None:
        self.decisions = 0
        self.fields: dict[Name, int] = {}
        self.features: dict[str, int] = {}
        self.others = 0
        self.imitated = 0
        self.matched = 0

    def note(self, fields: Iterable[Name], features: Iterable[str]) -> None:
        """Count a decision that brought these `fields`, which no feature reads, and lacked a value for these
        `features`. Each is given once."""
        self.decisions += 1
        for of, field in fields:
            name: Name = (of, field[:_LONGEST_NAME])
            if name not in self.fields and len(self.fields) >= MOST_FIELDS:
                self.others += 1
            else:
                self.fields[name] = self.fields.get(name, 0) + 1
        for feature in features:
            self.features[feature] = self.features.get(feature, 0) + 1

    def note_shown(self, *, matched: bool) -> None:
        """Count a decision in which something was shown whatever the policies would have chosen."""
        self.imitated += 1
        self.matched += matched
