"""The input of a decision: what is known of the moment and of the user, and the features of each candidate."""

from collections.abc import Mapping
from typing import Final

import msgspec

__all__ = ["NOTHING", "Context", "Fields"]

# Fields by name, with values as JSON has them.
Fields = Mapping[str, object]
NOTHING: Final[Fields] = {}


class Context(msgspec.Struct, frozen=True):
    """What all candidates of a decision share: the fields of its `moment`, and those of its `user`."""

    moment: Fields = NOTHING
    user: Fields = NOTHING
