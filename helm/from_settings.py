"""What values.yaml says of the service's settings, from app/settings.py, which is their one source."""

import json
from typing import Any, get_args, get_origin, get_type_hints

import msgspec

from app.settings import Secret, Settings

__all__ = ["with_settings"]

# Where a pod's default is not that of a process on somebody's desk.
POD_DEFAULTS = {
    "host": "::",  # a pod must be reached from outside, over IPv6 and IPv4
    "nats_durable_prefix": "",  # a pod's release and namespace, which this file does not know
    "shutdown_seconds": 100,  # /generate asks a model up to 3 times for 30 seconds, and an update must not cut it off
}

# What a setting takes beyond what its type says.
PATTERNS = {
    "decision_log": "^(nats|file:///[A-Za-z0-9._/-]*[A-Za-z0-9._-])?$",
    "litellm_url": "^https?://",
    "nats_durable_prefix": "^[A-Za-z0-9_-]{0,64}$",
}

# What the chart adds to a setting's description.
NOTES = {
    "decision_log": "A directory needs a volume: `decisionLog`.",
    "redis_url": "With `redis.enabled` it is that Redis.",
    "nats_durable_prefix": "Empty: namespace and release, as `namespace_release`.",
}


def inner(hint: Any) -> tuple[Any, str]:
    """The bare type of an Annotated one, and the description nearest to the field."""
    text = ""
    while hasattr(hint, "__metadata__"):
        for note in hint.__metadata__:
            text = text or (note.description or "" if isinstance(note, msgspec.Meta) else "")
        hint = get_args(hint)[0] if get_origin(hint) is None else hint.__origin__
    return hint, text


def as_text(_type: type) -> dict[str, Any]:
    """The schema of a type that is none of JSON's: the environment has only text."""
    return {"type": "string"}


def settings_rows() -> tuple[list[str], list[str]]:
    """The lines of values.yaml for the plain settings and for the secret ones."""
    config: list[str] = []
    secrets: list[str] = []
    defaults = Settings()
    for name, hint in get_type_hints(Settings, include_extras=True).items():
        bare, text = inner(hint)
        text = text[:1].upper() + text[1:].rstrip(".") + "."
        text = f"{text} {NOTES.get(name, '')}".rstrip()
        default = getattr(defaults, name)
        if bare is Secret:
            secrets += [
                f"  # -- {text}",
                '  # @schema {$ref: "#/definitions/secret"}',
                f'  {name.upper()}: {{value: "", existingSecret: "", key: {name.upper()}}}',
            ]
            continue
        schema = msgspec.json.schema(hint, schema_hook=as_text)
        schema.pop("description", None)
        if name in PATTERNS:
            schema["pattern"] = PATTERNS[name]
        value = POD_DEFAULTS.get(name, default)
        config += [
            f"  # -- {text}",
            f"  # @schema {json.dumps(schema)}",
            f"  {name.upper()}: {json.dumps(value)}",
        ]
    return config, secrets


def with_settings(text: str) -> str:
    """values.yaml with the blocks between its `begin` and `end` marks renewed."""
    for block, rows in zip(("config", "secrets"), settings_rows(), strict=True):
        begin, end = f"  # begin: {block}, written by generate.py from app/settings.py\n", f"  # end: {block}\n"
        before, found, rest = text.partition(begin)
        _, ended, after = rest.partition(end)
        if not found or not ended:
            raise ValueError(f"values.yaml: the marks of {block} are missing")
        text = before + begin + "".join(f"{row}\n" for row in rows) + end + after
    return text
