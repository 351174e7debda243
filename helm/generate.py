"""Write what follows from other files: the settings in values.yaml, then README.md, values.schema.json and
files/defaults.json from it.

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
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
import yaml

CHART = Path(__file__).parent
sys.path.insert(0, str(CHART.parent))

from app.settings import Secret, Settings  # noqa: E402 - found only with the path above

Schema = dict[str, Any]

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

INTRODUCTION = """\
# The Helm chart

<!-- every command needs: Kubernetes -->

```console
helm install oo ./helm --set image.repository=registry.example/oo-serving
helm test oo
```

This gives two replicas and a small Redis with its data on a volume. [On Kubernetes](../docs/run/kubernetes.md) tells
how to build the image, upgrade, scale, rotate secrets, back up, and move to a Redis that survives the loss of a node.

Every value has a comment in [`values.yaml`](values.yaml), which `helm show values ./helm` prints. Helm refuses a
value that does not fit [`values.schema.json`](values.schema.json), with a sentence that names it. This file and the
schema are written from `values.yaml` by `python helm/generate.py`, and the settings in `values.yaml` from
`app/settings.py`.
"""

UPGRADING = """\
## Upgrading

Any version can be upgraded with `--reset-then-reuse-values`, which takes the new defaults, and with `--reuse-values`,
which keeps all the old ones. What Kubernetes does not let change is
[refused before anything has changed](../docs/run/kubernetes.md#what-an-upgrade-cannot-change).

### To 0.3.0

- `config.DECISION_LOG` turns the [log of decisions](../docs/use/log.md) on. As `file:///directory` it needs a volume:
  `decisionLog`. A Redis user with narrow rights needs
  [more commands](../docs/run/operations.md#the-rights-the-service-needs) then.
- `prometheusRule.dashboardUrl` has alerts link to the panel that shows them. Without it, and without `runbookUrl`,
  they have the annotations `dashboard` and `runbook` with a path, and no link.
- `config.ROOT_PATH` and `config.TRUSTED_PROXIES` take the place of such an `extraEnv`, which goes on working.
- A third CronJob, `…-judge`, runs every hour where the log is in a directory that pods share. It mounts the claim to
  read, so the claim must be `ReadWriteMany`, or the pods be on one node; `judge.enabled=false` takes it away.
- A fourth, `…-compact`, makes tables of that log: `compact.enabled=true`, with an image of the Dockerfile's target
  `tools` in the same repository (`image.toolsTag`). `judge` then has that image too, and reads the tables.
- There are seven more alerts, and rows of the dashboard for the log and for the evidence of loops.

### To 0.2.0

- **Every text among the values is a template now.** One that has `{{` of its own, such as an annotation of the Vault
  agent, is written `'{{ "{{" }} … }}'`.
- A key that is set to null has its default. Only `redis.user` and parts of Kubernetes' own objects can be taken away.
- `config.HOST` is `::` by default, which serves IPv6 and IPv4. With `--reuse-values` it stays `0.0.0.0`.
- A second CronJob, `…-settle`, runs every hour. `settle.enabled=false` takes it away.
- The port of the Service has no `appProtocol`; `service.appProtocol: http` brings it back.
- Alerts name the file of the runbook until `prometheusRule.runbookUrl` says where it can be read.
- With `redis.enabled=false`, `extraEnv` or `extraEnvFrom` may bring `REDIS_URL`. An `extraEnvFrom` also opens the ports
  of NATS, whose URL it may hold.
- Redis is not restarted by this upgrade; the pods of the service are replaced.
- The durable consumers have other names, as follows.

The durable consumers of a release are named after its namespace and name: `prod_oo-signals` and `prod_oo-feedback`
for the release `oo` in `prod`. In 0.1.0 they were `oo-serving-…` for every release, so two releases on one NATS
shared them, and each got a part of the events. A release that has such durables can keep them:

```yaml
config:
  NATS_DURABLE_PREFIX: oo-serving  # for one release only
```

Otherwise the upgrade makes new durables, and the old ones keep the events that they have not delivered. What to do
depends on the retention of the stream:

- `limits`: the new durables get all events that the stream still holds. That does no harm: an older synchronisation
  does not overwrite a newer one, and feedback is only logged. Delete the old durables after the upgrade.
- `interest`: a new durable gets only what arrives later. Let the old release work off what is pending before the
  upgrade, and delete the old durables after it.
- `workqueue`: the stream refuses a second durable for the same subjects, and `/health` says so. Delete the old
  durables; the new ones get everything that was pending.
"""


SCHEMA_HEAD: Schema = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "title": "Values of the oo-serving chart",
    "definitions": {"secret": SECRET},
}


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
    values = with_settings((CHART / "values.yaml").read_text())
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
        CHART / "README.md": readme(sections),
        CHART / "values.schema.json": json.dumps(SCHEMA_HEAD | schema, indent=2, ensure_ascii=False) + "\n",
        CHART / "files" / "defaults.json": json.dumps(defaults(yaml.safe_load(values), schema), indent=1) + "\n",
    }


def readme(sections: list[Section]) -> str:
    """The chart's README: the first values with their comments, where the others are, and the examples in ci/."""
    rows = {row.name: row for section in sections for row in section.rows}
    lines = [INTRODUCTION, "## Values to set first\n", "| value | default | meaning |\n| --- | --- | --- |"]
    for name in FIRST:
        if name not in rows:
            raise SourceError(f"values.yaml: {name} is missing, which the README shows")
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
    return "\n".join([*lines, "", UPGRADING])


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
