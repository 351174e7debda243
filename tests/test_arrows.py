"""Who may import whom: the arrows between the modules, read from the source, and that importing does nothing else.

A new module gets a row in MAY_IMPORT; a module that imports something new, another word in its row.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = ("app", "state", "tests", "bench")


def modules() -> dict[str, Path]:
    """Every module of the service by its name; a package is named like its folder."""
    found = {}
    for top in ("app", "state"):
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(source: str, module: str, known: dict[str, Path] = MODULES) -> set[str]:
    """What a module imports anywhere in its source: ours by full name, others by the first part of theirs."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            base = node.module or ""
            inside = {f"{base}.{alias.name}" for alias in node.names} & known.keys()
            found |= inside or {base}
    named = {name if name.split(".")[0] in OURS else name.split(".")[0] for name in found}
    return named - sys.stdlib_module_names - {"__future__"}


IMPORTS = {module: imports(path.read_text(), module) for module, path in MODULES.items()}

# One row for each module: what it imports besides the standard library, and no more. `state.*` is all of a package.
MAY_IMPORT: dict[str, str] = {
    "app": "",
    "app.settings": "msgspec",
    "app.schemas": "app.decoding msgspec",
    "app.logs": "msgspec",
    "app.patience": "",
    "app.precedence": "",
    "app.draining": "",
    "app.bandit": "",
    "app.bandit.context": "msgspec",
    "app.bandit.ridge": "numpy",
    "app.bandit.features": "app.bandit.context app.bandit.ridge numpy",
    "app.bandit.tips": "app.bandit.context app.bandit.features app.bandit.ridge numpy",
    "app.bandit.explore": "app.bandit.ridge msgspec",
    "app.bandit.sample": "",
    "app.bandit.policy": (
        "app.bandit.context app.bandit.explore app.bandit.features app.bandit.ridge app.bandit.sample msgspec"
    ),
    "app.bandit.registry": "app.bandit.explore app.bandit.policy app.bandit.tips",
    "state": "",
    "state.errors": "",
    "state.keys": "",
    "state.record": "state.errors msgspec numpy",
    "state.history": "state.errors msgspec",
    "state.servers": "hiredis redis",
    "state.cluster": "state.servers redis",
    "state.connect": "fakeredis redis state.addresses state.cluster state.servers",
    "state.stored": "state.errors state.history state.keys state.record msgspec",
    "state.index": "state.keys state.servers",
    "state.sorter": "",
    "state.failure": "state.errors state.servers redis",
    "state.advice": "state.failure state.servers redis",
    "state.scan": "state.failure state.servers redis",
    "state.batch": "state.errors state.index state.keys state.servers msgspec redis",
    "state.transaction": "state.batch state.errors state.failure state.keys state.servers msgspec redis",
    "state.erasure": "state.errors state.failure state.index state.keys state.scan state.servers",
    "state.store": (
        "state.batch state.erasure state.errors state.failure state.keys state.servers state.transaction redis"
    ),
    "state.transfer": (
        "state.errors state.failure state.keys state.scan state.servers state.sorter state.stored msgspec redis"
    ),
    "state.users": (
        "state.errors state.failure state.index state.keys state.scan state.servers state.stored "
        "state.transfer msgspec redis"
    ),
    "app.decisions": (
        "app.bandit.context app.bandit.policy app.bandit.ridge app.bandit.sample msgspec state.batch "
        "state.errors state.history state.keys state.record state.store"
    ),
    "app.prompts": "msgspec",
    "app.connections": "httpx",
    "app.completion": "app.decoding app.prompts msgspec",
    "app.llm": "app.completion app.connections app.precedence app.prompts app.settings httpx",
    "app.tips": "app.decoding app.llm app.prompts app.thoughts msgspec",
    "app.events": "app.decoding msgspec",
    "app.wire": "app.settings nats",
    "app.dead_letters": "msgspec nats",
    "app.delivery": "app.dead_letters app.events app.patience msgspec nats state.errors",
    "app.durable": "app.delivery app.patience app.settings msgspec nats",
    "app.consumer": ("app.delivery app.durable app.events app.patience app.settings app.wire msgspec nats"),
    "app.protocol": "app.schemas httptools msgspec uvicorn",
    "app.http": "litestar msgspec",
    "app.errors": "app.http app.llm app.prompts app.schemas litestar state.errors",
    "app.access": "app.settings litestar msgspec state.errors state.keys state.store",
    "app.gate": ("app.access app.draining app.errors app.logs app.metrics app.schemas litestar msgspec"),
    "app.routes": (
        "app.access app.bandit.context app.decisions app.http app.precedence app.schemas litestar msgspec state.history"
    ),
    "app.generate": ("app.access app.http app.llm app.precedence app.prompts app.schemas app.tips litestar"),
    "app.health": ("app.consumer app.draining app.errors app.schemas litestar msgspec state.errors state.store"),
    "app.metrics": ("app.access app.consumer app.delivery app.settings litestar prometheus_client state.store"),
    "app.tracing": "app.logs litestar opentelemetry state.batch state.store",
    "app.reference": "app app.consumer app.health app.schemas msgspec",
    "app.schema_page": "",
    "app.openapi": "app app.reference app.schema_page app.schemas litestar msgspec",
    "app.backup_lines": "app.bandit.registry msgspec state.errors state.keys state.stored",
    "app.backup": ("app app.backup_lines msgspec state.errors state.keys state.sorter state.stored state.users"),
    "app.first_system": "app.bandit.policy msgspec numpy state.errors state.record state.stored",
    "app.show": (
        "app.bandit.policy app.bandit.ridge numpy rich state.errors state.history state.keys "
        "state.record state.stored state.transfer"
    ),
    "app.terminal": "app.show app.settings rich state.connect state.servers",
    "app.moving": (
        "app.backup app.bandit.registry app.first_system app.settings app.terminal msgspec state.keys "
        "state.servers state.sorter state.transfer state.users"
    ),
    "app.commands": (
        "app.access app.backup app.bandit.registry app.moving app.settings app.show app.terminal rich "
        "state.errors state.keys state.store state.transfer"
    ),
    "app.main": "app.* state.* httpx litestar",
    "app.starting": "",
    "app.__main__": "app.commands app.logs app.main app.protocol app.settings app.starting uvicorn",
    "app.decoding": "msgspec",
    "app.thoughts": "",
    "state.addresses": "",
}

# Each of these is known in these places only; a package stands for all within it.
ONLY_IN: dict[str, str] = {
    "redis": "state",
    "hiredis": "state",
    "fakeredis": "state",
    "httpx": "app.connections app.llm app.main",
    "nats": "app.consumer app.dead_letters app.delivery app.durable app.wire",
    "litestar": (
        "app.access app.errors app.gate app.generate app.health app.http app.main app.metrics app.openapi app.routes "
        "app.tracing"
    ),
    "prometheus_client": "app.metrics",
    "opentelemetry": "app.tracing",
    "rich": "app.commands app.show app.terminal",
    "uvicorn": "app.__main__ app.protocol",
    "app.main": "app.__main__",
    "tests": "",
    "bench": "",
}


def within(name: str, top: str) -> bool:
    return name == top or name.startswith(f"{top}.")


def allows(entry: str, name: str) -> bool:
    """Whether this word of a row allows this import."""
    return name.startswith(entry[:-1]) if entry.endswith(".*") else name == entry


def test_every_module_has_a_row() -> None:
    """A new module says what it imports, and a renamed one does not slip out of its row."""
    assert MAY_IMPORT.keys() == MODULES.keys()


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_what_its_row_says(module: str) -> None:
    """Each module knows only what its row names, and the row names nothing that it does not need."""
    row, imported = MAY_IMPORT.get(module, "").split(), IMPORTS[module]
    fits = all(any(allows(entry, name) for entry in row) for name in imported)
    needed = all(any(allows(entry, name) for name in imported) for entry in row)
    right = fits and needed
    assert right, f"the row would be: {' '.join(sorted(imported))}"


@pytest.mark.parametrize("library", ONLY_IN)
def test_library_is_used_in_its_place_only(library: str) -> None:
    """A library that speaks to the outside is wrapped once, and the composition root is imported by the start alone."""
    users = {module for module, names in IMPORTS.items() if any(within(name, library) for name in names)}
    places = ONLY_IN[library].split()
    assert not {user for user in users if not any(within(user, place) for place in places)}
    assert not {place for place in places if not any(within(user, place) for user in users)}


def test_no_cycles() -> None:
    """Modules can be read in an order in which each imports only those before it."""
    left = {module: {name for name in names if name in MODULES} - {module} for module, names in IMPORTS.items()}
    while ready := {module for module, names in left.items() if not names & left.keys()}:
        left = {module: names for module, names in left.items() if module not in ready}
    assert not left


def test_imports_are_read_from_every_form() -> None:
    """The reader sees imports of names, of modules, in functions, and under an alias."""
    source = (
        "import redis.asyncio as r\nfrom state import store\nfrom state.keys import of\ndef f():\n import app.llm\n"
    )
    known = {name: Path() for name in ("state", "state.store", "state.keys", "app.llm")}
    assert imports(source, "m", known) == {"redis", "state.store", "state.keys", "app.llm"}


IMPORT_ALL = """
import sys
def forbid(event, arguments):
    if event in ("socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.Popen", "os.system", "os.fork"):
        raise RuntimeError(f"{event} at import: {arguments!r}")
sys.addaudithook(forbid)
import importlib
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def test_nothing_happens_at_import() -> None:
    """Importing every module opens no connection and starts no process, and gives no warning."""
    command = [sys.executable, "-W", "error", "-c", IMPORT_ALL, *MODULES]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
