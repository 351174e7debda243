"""Prompt versions: each is a Markdown file in `templates/`, named by the version.

A file is a sentence on what the version is for, then a `# System` and a `# User` part. `{{name}}` stands for a value;
the names are those of `PLACEHOLDERS`. Task texts and extra context come from outside. They are inserted as JSON that
cannot close the `<data>` tag around it, and placeholders in them are not replaced.
"""

import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Final, Literal

import msgspec

__all__ = ["PLACEHOLDERS", "WEEKDAYS", "Message", "Prompt", "Prompts", "UnknownPrompt", "load"]

WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
PARTS_OF_DAY: Final = ("night", "morning", "afternoon", "evening")
PLACEHOLDERS: Final = frozenset({"n", "weekday", "hour", "part_of_day", "tasks", "extra"})

_PLACEHOLDER: Final = re.compile(r"\{\{(\w+)\}\}")
_FILE: Final = re.compile(r"[^\n#]+\n+# System\n+(?P<system>.+?)\n+# User\n+(?P<user>.+?)\s*", re.DOTALL)


class UnknownPrompt(ValueError):
    """This version of the prompt does not exist; the message lists those that do."""

    def __init__(self, version: str, known: Sequence[str]) -> None:
        super().__init__(f"unknown prompt version {version[:64]!r}, there are {', '.join(known)}")


class Message(msgspec.Struct, frozen=True):
    """One turn of a conversation, as the chat API takes it."""

    role: Literal["system", "user", "assistant"]
    content: str


class Prompt(msgspec.Struct, frozen=True):
    """One version: its name and the two templates."""

    version: str
    system: str
    user: str

    def messages(
        self,
        *,
        n: int,
        tasks: Sequence[Mapping[str, Any]] = (),
        hour_of_day: int = 12,
        day_of_week: int = 0,
        extra: Mapping[str, Any] | None = None,
    ) -> list[Message]:
        """The system and the user message that ask for `n` tips.

        `hour_of_day` is 0..23 and `day_of_week` 0..6, Monday first; `tasks` and `extra` are anything JSON can hold.
        """
        values = {
            "n": str(n),
            "weekday": WEEKDAYS[day_of_week],
            "hour": f"{hour_of_day:02d}:00",
            "part_of_day": PARTS_OF_DAY[hour_of_day // 6],
            "tasks": _data(tasks),
            "extra": _data(extra or {}),
        }
        return [
            Message("system", _fill(self.system, values)),
            Message("user", _fill(self.user, values)),
        ]


class Prompts(msgspec.Struct, frozen=True):
    """Every version by name, and the one used when a request names none."""

    default: str
    versions: dict[str, Prompt]

    def get(self, version: str | None) -> Prompt:
        """The prompt of this version, the default one for None; raises UnknownPrompt."""
        wanted = self.default if version is None else version
        if wanted not in self.versions:
            raise UnknownPrompt(wanted, list(self.versions))
        return self.versions[wanted]


def load(default: str, directory: Traversable | None = None) -> Prompts:
    """Read every version in `directory`, by default in `templates/`.

    Raises UnknownPrompt if `default` is not among them, and ValueError, which names the file, if one is not a prompt.
    """
    there = (files("app.tips") / "templates" if directory is None else directory).iterdir()
    texts = {f.name.removesuffix(".md"): _read(f) for f in there if f.name.endswith(".md")}
    # v2 before v10: shorter names first.
    in_order = sorted(texts, key=lambda name: (len(name), name))
    prompts = Prompts(default, {version: _parse(version, texts[version]) for version in in_order})
    prompts.get(default)
    return prompts


def _read(file: Traversable) -> str:
    try:
        return file.read_text("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"prompt {file.name}: not UTF-8") from None


def _parse(version: str, text: str) -> Prompt:
    match = _FILE.fullmatch(text)
    if match is None:
        raise ValueError(f"prompt {version}.md: expected a sentence, then a '# System' and a '# User' part")
    unknown = set(_PLACEHOLDER.findall(text)) - PLACEHOLDERS
    if unknown:
        raise ValueError(f"prompt {version}.md: unknown placeholder {{{{{min(unknown)}}}}}")
    return Prompt(version, match["system"], match["user"])


def _fill(template: str, values: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda match: values[match[1]], template)


def _data(value: object) -> str:
    """`value` as JSON in which no text can look like the end of the `<data>` it stands in."""
    return msgspec.json.encode(value).decode().replace("<", "\\u003c").replace(">", "\\u003e")
