"""The documents: their pages, links, anchors and blocks, and a comparison of shown with printed output."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["PAGES", "ROOT", "Block", "alike", "anchors", "blocks", "commands", "links"]

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "helm" / "README.md"])

_FENCE = re.compile(
    r"(?:^ *<!-- needs: (?P<needs>.+?) -->\n)?^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)
_PAGE_NEEDS = re.compile(r"^<!-- every command needs: (.+?) -->$", re.MULTILINE)
_LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s]+)\)")
# What differs between runs: times, a size in bytes, keys of the API and their digests, milliseconds.
_CHANGING = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ|[\d,]+(?= bytes)|\b[0-9a-f]{64}\b|(?<![\w-])[\w-]{43}(?![\w-])"
)


class Block(NamedTuple):
    """A fenced block; `needs` names what must be there for its commands beside Redis and the service."""

    language: str
    text: str
    needs: str | None


def blocks(text: str) -> list[Block]:
    """All fenced blocks of a page, in order."""
    whole = _PAGE_NEEDS.search(text)
    return [
        Block(
            found["language"],
            re.sub(f"^{found['indent']}", "", found["text"], flags=re.MULTILINE),
            found["needs"] or (whole and whole[1]),
        )
        for found in _FENCE.finditer(text)
    ]


def commands(block: str) -> Iterator[tuple[str, str]]:
    """Each command of a `console` block (it begins with `$ `) and the output shown below it."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        lines = part.splitlines()
        end = 1
        while "\n".join(lines[:end]).count("'") % 2 or lines[end - 1].endswith("\\"):
            end += 1
        yield "\n".join(lines[:end]), "\n".join(lines[end:])


def alike(shown: str, printed: str) -> bool:
    """Whether the output is what is shown. `...` stands for anything within a line, alone on a line for any lines."""
    dots = re.escape("...")
    lines = [
        "(?s:.*)" if line == dots else line.replace(dots, ".*") for line in re.escape(_steady(shown)).split("\\\n")
    ]
    return re.fullmatch("\n".join(lines), _steady(printed)) is not None


def _steady(text: str) -> str:
    """Text without what differs between runs, and without white space at the ends of lines."""
    return re.sub(r" +$", "", _CHANGING.sub("<changing>", text.strip()), flags=re.MULTILINE)


def links(text: str) -> list[str]:
    """The targets of all relative links outside of fenced blocks."""
    return _LINK.findall(_FENCE.sub("", text))


def anchors(text: str) -> set[str]:
    """What a link to a heading of the page may name, by GitHub's rules."""
    found: set[str] = set()
    for title in re.findall(r"^#+ (.+?)\s*$", _FENCE.sub("", text), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).lower()
        name = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        number = 0
        while (full := f"{name}-{number}" if number else name) in found:
            number += 1
        found.add(full)
    return found
