"""The structure of the code, held to the table in docs/change/architecture.md: who may import whom, how large it is."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "change" / "architecture.md"
# Files of `state` that all of its rooms may import.
BELOW = ("state/errors.py", "state/keys.py", "state/parts.py")
OURS = ("app", "state", "tests", "bench")
LINES_OF_A_FILE = 250
LINES_OF_A_FUNCTION = 70
FILES_OF_A_ROOM = 12
# Rows of a table, which is read by searching and not from top to bottom.
TABLES = frozenset({"app/reference/examples.py", "app/settings.py"})


def table() -> dict[str, set[str]]:
    """What each room may import, by the table on the page."""
    text = PAGE.read_text().partition("<!-- rooms -->")[2].partition("<!-- /rooms -->")[0]
    rows = re.findall(r"^\| `([\w/]+)` \| .+? \| (.+?) \|$", text, re.MULTILINE)
    return {room: set(allowed.replace("`", "").split()) for room, allowed in rows}


ROOMS = table()
FILES = sorted(path for top in ("app", "state") for path in (ROOT / top).rglob("*.py"))
NAMES = [str(path.relative_to(ROOT)) for path in FILES]
MODULES = {name.removesuffix(".py").removesuffix("/__init__").replace("/", "."): name for name in NAMES}


def imports(source: str, known: dict[str, str] = MODULES) -> set[str]:
    """What a source imports anywhere: modules of ours by their paths, libraries by the first part of their names."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            base = node.module or ""
            inside = {f"{base}.{alias.name}" for alias in node.names} & known.keys()
            found |= inside or {base}
    named = {known[name] if name in known else name.split(".")[0] for name in found}
    return named - sys.stdlib_module_names - {"__future__"}


def room_of(name: str) -> str:
    return str(Path(name).parent)


@cache
def all_imports() -> dict[str, set[str]]:
    """What each file imports. Not read at import: each process of pytest imports this module."""
    return {name: imports(path.read_text()) for name, path in zip(NAMES, FILES, strict=True)}


def allows(room: str, imported: str) -> bool:
    """Whether a file of `room` may import this file or library."""
    allowed = ROOMS[room]
    if "everything" in allowed:
        return True
    if not imported.endswith(".py"):
        return imported in allowed
    known = {room_of(imported), imported.removesuffix(".py")}
    if imported in BELOW:
        return room.startswith("state") or "state" in allowed or not known.isdisjoint(allowed)
    return room_of(imported) == room or not known.isdisjoint(allowed)


def test_every_room_has_a_row() -> None:
    """A new folder says on the page what it is for and what it may import; a row without a folder goes."""
    assert set(ROOMS) == {room_of(name) for name in NAMES if not name.endswith("templates")}


def test_a_file_imports_what_its_room_may() -> None:
    """Each file imports only what the row of its room names."""
    wrong = [
        f"{name} imports {imported}"
        for name, found in all_imports().items()
        for imported in sorted(found)
        if not allows(room_of(name), imported)
    ]
    assert not wrong, "\n".join(wrong)


def test_a_row_names_only_what_is_needed() -> None:
    """A row grants nothing that no file of the room uses."""
    used: dict[str, set[str]] = {room: {"everything"} for room in ROOMS}
    for name, found in all_imports().items():
        for imported in found if room_of(name) in used else ():
            used[room_of(name)] |= {imported, imported.removesuffix(".py"), room_of(imported)}
    assert {room: ROOMS[room] - names for room, names in used.items() if ROOMS[room] - names} == {}


def test_arrows_point_down() -> None:
    """No room imports a room above it in the table, except for `state`, some of whose files all of its rooms know."""
    order = list(ROOMS)
    for name, imported in all_imports().items():
        for other in imported:
            if other.endswith(".py") and other not in BELOW and room_of(name) != "app":
                at, to = order.index(room_of(name)), order.index(room_of(other))
                assert at <= to or room_of(other) == "app", f"{name} imports {other}"


def test_no_circles() -> None:
    """Files can be read in an order in which each imports only those before it."""
    every = all_imports()
    left = {name: {other for other in imported if other in every} - {name} for name, imported in every.items()}
    while ready := {name for name, others in left.items() if not others & left.keys()}:
        left = {name: others for name, others in left.items() if name not in ready}
    assert sorted(left) == []


def test_size() -> None:
    """A file has at most 250 lines, a function at most 70."""
    long = []
    for name, path in zip(NAMES, FILES, strict=True):
        text = path.read_text()
        if name not in TABLES and (length := len(text.splitlines())) > LINES_OF_A_FILE:
            long.append(f"{name}: {length}")
        long += [
            f"{name}: {node.name}: {length}"
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and (length := (node.end_lineno or 0) - node.lineno + 1) > LINES_OF_A_FUNCTION
        ]
    assert not long, "\n".join(long)


def test_rooms_are_small() -> None:
    """A room that has many files would be two."""
    counts = {room: sum(room_of(name) == room for name in NAMES) - 1 for room in ROOMS}
    assert {room: count for room, count in counts.items() if count > FILES_OF_A_ROOM} == {}


def test_every_room_says_what_it_is_for() -> None:
    """The `__init__` of a room is one sentence."""
    for room in ROOMS:
        text = ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text())) or ""
        assert len(text) > 20, room
        assert text.endswith("."), room


def test_every_file_has_a_unit_test() -> None:
    """The test of a file stands at the same place under tests/unit and needs no server."""
    modules = [Path(name) for name in NAMES if not name.endswith("__init__.py")]
    tests = [Path("tests", "unit", path.parent, f"test_{path.stem.strip('_')}.py") for path in modules]
    missing = [str(test) for test in tests if not (ROOT / test).exists()]
    assert not missing, "\n".join(missing)


def test_imports_are_read_from_every_form() -> None:
    """The reader sees imports of names, of modules, in functions, and under an alias."""
    source = (
        "import redis.asyncio as r\nfrom state import store\nfrom state.keys import of\ndef f():\n import app.tips\n"
    )
    known = {name.removesuffix(".py").replace("/", "."): name for name in ("state/store.py", "state/keys.py")}
    assert imports(source, known) == {"redis", "state/store.py", "state/keys.py", "app"}


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
    """Importing every module opens no connection, starts no process and gives no warning."""
    command = [sys.executable, "-W", "error", "-c", IMPORT_ALL, *MODULES]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
