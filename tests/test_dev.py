"""The `dev` script: what it says, and that the lock files fit pyproject.toml."""

import importlib.machinery
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
LOCKS = ["requirements.lock", "requirements-dev.lock", "requirements-build.lock"]


def dev(*words: str) -> subprocess.CompletedProcess[str]:
    # -I -S: nothing but the standard library can be imported.
    command = [sys.executable, "-I", "-S", str(ROOT / "dev"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, stdin=subprocess.DEVNULL)


@pytest.fixture
def script(tmp_path: Path) -> ModuleType:
    """The script as a module, over copies of pyproject.toml and the lock files."""
    loader = importlib.machinery.SourceFileLoader("dev_script", str(ROOT / "dev"))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    for name in ("pyproject.toml", *LOCKS):
        (tmp_path / name).write_text((ROOT / name).read_text())
    places = {name: tmp_path / file for name, file in zip(("LOCK", "DEV_LOCK", "BUILD_LOCK"), LOCKS, strict=True)}
    module.__dict__.update(ROOT=tmp_path, **places)
    return module


@pytest.mark.parametrize("words", [["--help"], ["-h"], []])
def test_help_names_every_verb(words: list[str]) -> None:
    """Help, or no verb at all, lists the verbs with what each does."""
    done = dev(*words)
    assert done.returncode == 0
    for verb in ("run", "test", "check", "e2e", "chaos", "bench", "setup", "lock"):
        assert re.search(rf"^  \./dev {verb} ", done.stdout, re.MULTILINE)


def test_unknown_verb_is_one_line() -> None:
    """A slip is answered with one line and no traceback."""
    done = dev("tset")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "dev: there is no verb 'tset'; './dev --help' lists them\n"


def test_lock_files_fit(script: ModuleType) -> None:
    """The lock files were written from this pyproject.toml."""
    assert script.stale_locks() == []


def test_changed_dependency_makes_lock_files_stale(script: ModuleType) -> None:
    """A dependency changed in pyproject.toml and not in the lock files is noticed; another change is not."""
    path = script.ROOT / "pyproject.toml"
    text = path.read_text()
    path.write_text(text.replace("line-length = 120", "line-length = 119"))
    assert script.stale_locks() == []
    path.write_text(text.replace('"httpx==', '"httpx>='))
    assert script.stale_locks() == [script.LOCK, script.DEV_LOCK]
    path.write_text(text.replace('"hatchling==', '"hatchling>='))
    assert script.stale_locks() == [script.BUILD_LOCK]


@pytest.mark.parametrize("name", LOCKS)
def test_lock_file_pins_with_hashes_and_names_no_index(name: str) -> None:
    """Every package has one version and hashes, and the file can be used with any index."""
    text = (ROOT / name).read_text()
    assert not re.search(r"://|^-", text, re.MULTILINE)
    packages = re.findall(r"^[a-z][^ ]*==\S+ .*\\\n +--hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)
    assert len(packages) == len(re.findall(r"^[a-zA-Z]", text, re.MULTILINE))


def test_one_version_in_both_lock_files() -> None:
    """Tests run with the versions that are served."""
    served, tested = (set(re.findall(r"^[a-z]\S*==\S+", (ROOT / name).read_text(), re.MULTILINE)) for name in LOCKS[:2])
    assert served <= tested
