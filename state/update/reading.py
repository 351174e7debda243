"""What a batch reads: the commands, and where the values have each reply. Pure."""

from state.redis.exchange import Command

__all__ = ["Reading"]


class Reading:
    """What steps want to read, each thing once. Every kind of read enters itself."""

    def __init__(self) -> None:
        self.commands: dict[str, Command] = {}  # by the place of the reply among the values
        self.watched: dict[str, None] = {}  # keys that must not change meanwhile
        self.hashes: dict[str, tuple[bytes, ...]] = {}  # and the fields that are read
        self.agendas: dict[str, int] = {}  # sorted sets, and how many of their members are read
        self.scores: set[str] = set()  # places of scores
        self.parts: set[str] = set()  # keys of which only a part is read, and any may be written
