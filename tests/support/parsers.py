"""The commands of `python -m app`, as their parsers declare them."""

from argparse import ArgumentParser, _SubParsersAction
from collections.abc import Iterator
from typing import Final

from app.commands import cli

__all__ = ["PARSERS"]


def _commands(parser: ArgumentParser, before: str = "") -> Iterator[tuple[str, ArgumentParser]]:
    inner = [action for action in parser._actions if isinstance(action, _SubParsersAction)]
    if not inner:
        yield before.strip(), parser
    for action in inner:
        for name, command in action.choices.items():
            yield from _commands(command, f"{before}{name} ")


# Every command that does something, by its words.
PARSERS: Final = dict(_commands(cli._parser()))
