"""Write what follows from other files: the settings in values.yaml, then README.md and values.schema.json from it.

    python helm/generate.py          # write
    python helm/generate.py --check  # name what is stale and exit 1

app/settings.py is the one source for the service's settings, the comments in values.yaml for all else. A key is
described by the comment above it: "-- " starts the text, "@schema" adds to the type that follows from the default,
"== " starts a section, and the lines below a section's title introduce it.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
import yaml

CHART = Path(__file__).parent
sys.path.insert(0, str(CHART.parent))

from app.settings import Secret, Settings  # noqa: E402 - found only with the path above

Schema = dict[str, Any]

# Where a pod's default is not that of a process on somebody's desk.
POD_DEFAULTS = {
    "host": "0.0.0.0",  # noqa: S104 - a pod must be reached from outside
    "nats_durable_prefix": "",  # a pod's release and namespace, which this file does not know
    "shutdown_seconds": 100,  # /generate asks a model up to 3 times for 30 seconds, and an update shall not cut it off
}

# What a setting takes beyond what its type says.
PATTERNS = {"litellm_url": "^https?://", "nats_durable_prefix": "^[A-Za-z0-9_-]{0,64}$"}

# What the chart adds to a setting's description.
NOTES = {
    "redis_url": "With `redis.enabled` it is that Redis.",
    "nats_durable_prefix": "Empty: namespace and release, as `namespace_release`.",
}

# What each entry of `secrets` takes: the value itself, or where it is.
SECRET: Schema = {
    "type": "object",
    "additionalProperties": False,
    "required": ["value", "existingSecret", "key"],
    "properties": {
        "value": {"type": "string"},
        "existingSecret": {"type": "string"},
        "key": {"type": "string", "minLength": 1},
    },
}

INTRODUCTION = """\
# oo-serving

Contextual bandits as a service: stateless replicas over state shared in Redis.

```console
helm install oo ./helm --set image.repository=registry.example/oo-serving
helm test oo
```

This gives two replicas and a small Redis with its data on a volume. `docs/run/kubernetes.md` tells how to upgrade, scale,
rotate secrets, back up, and move to a Redis that survives a node. `ci/` has values for common cases.

## Upgrading

The durable consumers of a release are named after its namespace and name: `prod_oo-signals` and `prod_oo-feedback` for
the release `oo` in `prod`. They were `oo-serving-…` for every release, so two releases on one NATS shared them, and
each got a part of the events. A release that has such durables can keep them:

```yaml
config:
  NATS_DURABLE_PREFIX: oo-serving  # for one release only
```

Otherwise the upgrade makes new durables, and the old ones stay with the events they have not delivered:

- A stream with the retention `limits` gives the new durables all events it still holds. That does no harm: an older
  synchronisation does not overwrite a newer one, and feedback is only logged. Afterwards delete the old durables.
- A stream with the retention `interest` gives a new durable only what arrives later, and keeps what the old one has not
  delivered. Let the old release work off what is pending before the upgrade, and delete the old durables after it.
- A stream with the retention `workqueue` refuses a second durable for the same subjects, and `/health` says so. Delete
  the old durables; the new ones get everything that was pending.

This file and `values.schema.json` are written from `values.yaml` by `python helm/generate.py`.
"""


class SourceError(Exception):
    """values.yaml lacks something the generator needs; the message names the key."""


def inner(hint: Any) -> tuple[Any, str]:
    """The bare type of an Annotated one, and the description nearest to the field."""
    text = ""
    while hasattr(hint, "__metadata__"):
        for note in hint.__metadata__:
            text = text or (note.description or "" if isinstance(note, msgspec.Meta) else "")
        hint = get_args(hint)[0] if get_origin(hint) is None else hint.__origin__
    return hint, text


def as_text(_type: type) -> Schema:
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
            raise SourceError(f"values.yaml: the marks of {block} are missing")
        text = before + begin + "".join(f"{row}\n" for row in rows) + end + after
    return text


class Row(msgspec.Struct, frozen=True):
    """One value a user can set: its dotted name, what it takes, its default and its meaning."""

    name: str
    takes: str
    default: str
    text: str


class Section(msgspec.Struct, frozen=True):
    title: str
    text: str
    line: int
    rows: list[Row]


def comment(lines: list[str], line: int, column: int) -> tuple[str, Schema]:
    """The text and schema in the comment directly above `line`."""
    first = line
    while first > 0 and re.match(rf" {{{column}}}# ", lines[first - 1]):
        first -= 1
    text: list[str] = []
    schema: Schema = {}
    for raw in lines[first:line]:
        words = raw.strip().removeprefix("# ")
        if words.startswith("@schema "):
            schema |= yaml.safe_load(words.removeprefix("@schema "))
        elif words.startswith("-- "):
            text = [words.removeprefix("-- ")]
        elif text:
            text.append(words)
    return " ".join(text), schema


def base(value: Any) -> Schema:
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return {"type": kinds[type(value)]} if value is not None else {}


def takes(schema: Schema) -> str:  # noqa: PLR0911 - one line for each kind
    """What a value takes, in a few words."""
    if "$ref" in schema:
        return "`value`, or `existingSecret` and `key`"
    if "enum" in schema:
        return " \\| ".join(f"`{choice}`" for choice in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(takes(choice) for choice in schema["anyOf"])
    kind = schema["type"]
    words = " or ".join(word for word in kind if word != "null") if isinstance(kind, list) else str(kind)
    if kind == "array":
        item = schema["items"]["type"]
        words = f"list of {' or '.join(item) if isinstance(item, list) else item}"
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f"{words}, {low} to {high}"
    if low is not None:
        return f"{words}, {low} or more"
    if "exclusiveMinimum" in schema:
        return f"{words}, above {schema['exclusiveMinimum']}" + (f", at most {high}" if high is not None else "")
    return words


def walk(node: yaml.MappingNode, lines: list[str], path: str, sections: list[Section]) -> Schema:
    """The schema of a mapping; a row for each leaf goes into the section it stands in."""
    properties: Schema = {}
    for key, child in node.value:
        name = f"{path}{key.value}"
        text, extra = comment(lines, key.start_mark.line, key.start_mark.column)
        value = yaml.safe_load(yaml.serialize(child))
        if isinstance(child, yaml.MappingNode) and child.value and not extra:
            properties[key.value] = walk(child, lines, f"{name}.", sections)
            continue
        if not text:
            raise SourceError(f"values.yaml: {name} has no '# -- ' comment")
        schema = extra if extra.keys() & {"$ref", "anyOf"} else base(value) | extra
        if not schema.keys() & {"type", "enum", "$ref", "anyOf"}:
            raise SourceError(f"values.yaml: {name} needs '# @schema {{type: …}}', for null says nothing")
        if schema.get("type") == "array" and "items" not in schema:
            raise SourceError(f"values.yaml: {name} needs '# @schema {{items: …}}'")
        if value == {} and not extra:
            raise SourceError(f"values.yaml: {name} needs '# @schema' with additionalProperties or 'type: object'")
        properties[key.value] = {"description": text, **schema}
        section = next(section for section in reversed(sections) if section.line < key.start_mark.line)
        default = json.dumps(value, ensure_ascii=False) if value not in (None, "") else ""
        section.rows.append(Row(name, takes(schema), f"`{default}`" if default else "", text))
    # Helm takes a key away that is set to null, and a template would then read it as 0.
    required = [name for name, schema in properties.items() if "null" not in schema.get("type", [])]
    return {"type": "object", "additionalProperties": False, "required": required, "properties": properties}


def outputs() -> dict[Path, str]:
    """Every generated file and what should be in it."""
    values = with_settings((CHART / "values.yaml").read_text())
    lines = values.splitlines()
    sections = []
    for number, line in enumerate(lines):
        if line.startswith("# == "):
            text = []
            for following in lines[number + 1 :]:
                if not following.startswith("# "):
                    break
                text.append(following.removeprefix("# "))
            sections.append(Section(line.removeprefix("# == "), " ".join(text), number, []))
    root = yaml.compose(values)
    assert isinstance(root, yaml.MappingNode)  # noqa: S101 - values.yaml is a mapping
    schema = walk(root, lines, "", sections)
    readme = [INTRODUCTION]
    for section in sections:
        readme.append(f"## {section.title}\n")
        if section.text:
            readme.append(f"{section.text}\n")
        readme.append("| value | takes | default | meaning |\n| --- | --- | --- | --- |")
        readme += [f"| `{row.name}` | {row.takes} | {row.default} | {row.text} |" for row in section.rows]
        readme.append("")
    head: Schema = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Values of the oo-serving chart"}
    head |= {"definitions": {"secret": SECRET}}
    return {
        CHART / "values.yaml": values,
        CHART / "README.md": "\n".join(readme),
        CHART / "values.schema.json": json.dumps(head | schema, indent=2, ensure_ascii=False) + "\n",
    }


def stale() -> list[str]:
    """Names of generated files that are not what they should be."""
    return [
        path.name for path, text in outputs().items() if not path.exists() or path.read_text(encoding="utf-8") != text
    ]


def main() -> int:
    if "--check" in sys.argv[1:]:
        names = stale()
        for name in names:
            sys.stderr.write(f"helm/{name} is stale: run 'python helm/generate.py'\n")
        return 1 if names else 0
    for path, text in outputs().items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
