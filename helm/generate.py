"""Write what follows from other files: the settings in values.yaml, then the tables of README.md, values.schema.json
and files/defaults.json from it.

    python helm/generate.py          # write
    python helm/generate.py --check  # name what is stale and exit 1

app/settings.py is the one source for the service's settings, the comments in values.yaml for all else. A key is
described by the comment above it: "-- " starts the text, "@schema" adds to the type that follows from the default, and
"== " starts a section.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import msgspec
import yaml

CHART = Path(__file__).parent
sys.path.insert(0, str(CHART.parent))

from from_settings import with_settings  # noqa: E402 - it finds app with the path above

Schema = dict[str, Any]

# Settings of older versions: a release that has one keeps it through an upgrade, and nothing reads it.
RETIRED = ("MAX_BODY_SECONDS",)

# What each entry of `secrets` takes: the value itself, or where it is.
SECRET: Schema = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "value": {"type": "string"},
        "existingSecret": {"type": "string"},
        "key": {"type": "string", "minLength": 1},
    },
}

# The values that most releases set; the README shows them with their comments.
FIRST = (
    "replicaCount",
    "image.repository",
    "image.digest",
    "redis.enabled",
    "redis.auth.existingSecret",
    "redis.persistence.size",
    "secrets.REDIS_URL",
    "secrets.API_KEYS",
    "secrets.LITELLM_MASTER_KEY",
    "secrets.NATS_URL",
    "config.LITELLM_URL",
    "resources",
    "autoscaling.enabled",
    "keda.enabled",
    "ingress.enabled",
    "httpRoute.enabled",
    "networkPolicy.from",
    "serviceMonitor.enabled",
    "prometheusRule.enabled",
    "config.DECISION_LOG",
    "decisionLog.existingClaim",
)

SCHEMA_HEAD: Schema = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "title": "Values of the oo-serving chart",
    "definitions": {"secret": SECRET},
}


class Row(msgspec.Struct, frozen=True):
    """One value a user can set: its dotted name, its default and its meaning."""

    name: str
    default: str
    text: str


class Section(msgspec.Struct, frozen=True):
    title: str
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
            raise ValueError(f"values.yaml: {name} has no '# -- ' comment")
        schema = extra if extra.keys() & {"$ref", "anyOf"} else base(value) | extra
        if not schema.keys() & {"type", "enum", "$ref", "anyOf"}:
            raise ValueError(f"values.yaml: {name} needs '# @schema {{type: …}}', for null says nothing")
        if schema.get("type") == "array" and "items" not in schema:
            raise ValueError(f"values.yaml: {name} needs '# @schema {{items: …}}'")
        if value == {} and not extra:
            raise ValueError(f"values.yaml: {name} needs '# @schema' with additionalProperties or 'type: object'")
        properties[key.value] = {"description": text, **schema}
        section = next(section for section in reversed(sections) if section.line < key.start_mark.line)
        default = json.dumps(value, ensure_ascii=False) if value not in (None, "") else ""
        section.rows.append(Row(name, f"`{default}`" if default else "", text))
    # Nothing is required: the values of an older release lack what is new since.
    return {"type": "object", "additionalProperties": False, "properties": properties}


def defaults(values: dict[str, Any], schema: Schema, path: str = "") -> dict[str, Any]:
    """The default of each key that is the chart's own, by its dotted path; without what may be null.

    What a part of a Kubernetes object holds, as `resources` does, is one default: a user may take parts of it away.
    """
    found: dict[str, Any] = {}
    for name, value in values.items():
        known = SECRET if "$ref" in schema["properties"][name] else schema["properties"][name]
        if isinstance(value, dict) and "description" not in known:  # a mapping of the chart's own
            found |= defaults(value, known, f"{path}{name}.")
        elif "null" not in known.get("type", []):
            found[f"{path}{name}"] = value
    return found


def outputs() -> dict[Path, str]:
    """Every generated file and what should be in it."""
    values = with_settings((CHART / "values.yaml").read_text(encoding="utf-8"))
    lines = values.splitlines()
    sections = [
        Section(line.removeprefix("# == "), number, []) for number, line in enumerate(lines) if line.startswith("# == ")
    ]
    root = yaml.compose(values)
    assert isinstance(root, yaml.MappingNode)  # noqa: S101 - values.yaml is a mapping
    schema = walk(root, lines, "", sections)
    known = schema["properties"]["config"]["properties"]
    known |= {name: {"description": "No longer read."} for name in RETIRED}
    return {
        CHART / "values.yaml": values,
        CHART / "README.md": with_tables((CHART / "README.md").read_text(encoding="utf-8"), sections),
        CHART / "values.schema.json": json.dumps(SCHEMA_HEAD | schema, indent=2, ensure_ascii=False) + "\n",
        CHART / "files" / "defaults.json": json.dumps(defaults(yaml.safe_load(values), schema), indent=1) + "\n",
    }


def with_tables(text: str, sections: list[Section]) -> str:
    """README.md with its tables renewed: the first values with their comments, where the others are, and the examples
    in ci/."""
    rows = {row.name: row for section in sections for row in section.rows}
    lines = ["\n## Values to set first\n", "| value | default | meaning |\n| --- | --- | --- |"]
    for name in FIRST:
        if name not in rows:
            raise ValueError(f"values.yaml: {name} is missing, which the README shows")
        default = "" if "existingSecret" in rows[name].default else rows[name].default
        lines.append(f"| `{name}` | {default} | {rows[name].text} |")
    lines += ["\n## All values\n", "| section of `values.yaml` | values |\n| --- | --- |"]
    for section in sections:
        names = dict.fromkeys(row.name.partition(".")[0] for row in section.rows)
        lines.append(f"| {section.title} | {', '.join(f'`{name}`' for name in names)} |")
    lines += ["\n## Examples\n", "| values | case |\n| --- | --- |"]
    for path in sorted((CHART / "ci").glob("*.yaml")):
        case = path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
        lines.append(f"| [`ci/{path.name}`](ci/{path.name}) | {case} |")
    before, found, rest = text.partition("<!-- tables -->\n")
    _, ended, after = rest.partition("<!-- /tables -->\n")
    if not found or not ended:
        raise ValueError("README.md: the marks of the tables are missing")
    return before + found + "\n".join([*lines, "", ended]) + after


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
