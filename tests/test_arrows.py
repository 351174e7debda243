"""Who may import whom: the arrows between the modules, read from the source, and that importing does nothing else."""

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

# Besides the standard library. A row holds for the module and those within it; the longest name counts.
MAY_IMPORT: dict[str, set[str]] = {
    "app": set(),
    "app.bandit": {"app.bandit", "numpy", "msgspec"},
    "app.settings": {"msgspec"},
    "app.prompts": {"app.settings", "msgspec"},
    "app.connections": {"httpx"},
    "app.llm": {"app.connections", "app.prompts", "app.settings", "httpx", "msgspec"},
    "app.tips": {"app.llm", "app.prompts", "msgspec"},
    "app.events": {"app.decisions", "state", "msgspec"},
    "app.first_system": {"app.bandit", "state", "msgspec", "numpy"},
    "app.show": {"app.bandit", "state", "numpy", "rich"},
    "app.decisions": {"app.bandit", "state", "msgspec", "numpy"},
    "state": {"state", "redis", "hiredis", "fakeredis", "msgspec", "numpy"},
    "state.keys": {"state.errors"},
    "state.errors": set(),
    "state.record": {"state.errors", "numpy", "msgspec"},
    "state.history": {"state.errors", "msgspec"},
}

# Each of these is spoken to in one place; the composition root may name any library to wire it.
ONLY_IN: dict[str, set[str]] = {
    "redis": {"state"},
    "hiredis": {"state"},
    "fakeredis": {"state"},
    "httpx": {"app.connections", "app.llm", "app.main"},
    "nats": {"app.consumer", "app.delivery", "app.dead_letters", "app.durable", "app.main"},
    "prometheus_client": {"app.metrics"},
    "opentelemetry": {"app.tracing"},
    "uvicorn": {"app.main", "app.protocol", "app.__main__"},
    "app.main": {"app.__main__"},
    "tests": set(),
    "bench": set(),
}


def within(name: str, tops: set[str]) -> bool:
    return any(name == top or name.startswith(f"{top}.") for top in tops)


def row_of(module: str) -> set[str] | None:
    """The row for a module: `app` itself is a row for the empty package only, not for all within it."""
    rows = [row for row in MAY_IMPORT if row == module or (row != "app" and module.startswith(f"{row}."))]
    return MAY_IMPORT[max(rows, key=len)] if rows else None


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_what_it_may(module: str) -> None:
    """The inner modules know only what their row names: no HTTP or NATS in a use-case, no I/O in the numbers."""
    allowed = row_of(module)
    if allowed is not None:
        assert not {name for name in IMPORTS[module] if not within(name, allowed)}


@pytest.mark.parametrize("library", ONLY_IN)
def test_library_is_used_in_its_place_only(library: str) -> None:
    """A library that speaks to the outside is wrapped once, and the composition root is imported by the start alone."""
    users = {module for module, names in IMPORTS.items() if any(within(name, {library}) for name in names)}
    assert not {user for user in users if not within(user, ONLY_IN[library])}


def test_no_cycles() -> None:
    """Modules can be read in an order in which each imports only those before it."""
    left = {module: {name for name in names if name in MODULES} - {module} for module, names in IMPORTS.items()}
    while ready := {module for module, names in left.items() if not names & left.keys()}:
        left = {module: names for module, names in left.items() if module not in ready}
    assert not left


def test_rows_are_about_modules_that_exist() -> None:
    """A renamed module does not slip out of its row."""
    assert MAY_IMPORT.keys() <= MODULES.keys()


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
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
