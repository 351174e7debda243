"""The `dev` script: its help, errors and choices, and that the lock files fit pyproject.toml."""

import importlib.machinery
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.processes import ROOT
from tests.support.waiting import PATIENCE_SECONDS

LOCKS = ["requirements.lock", "requirements-dev.lock", "requirements-build.lock", "requirements-tools.lock"]
NAMES = ("LOCK", "DEV_LOCK", "BUILD_LOCK", "TOOLS_LOCK")


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
    places = {"VENV": tmp_path / ".venv", "PYTHON": tmp_path / ".venv/bin/python"}
    places |= {name: tmp_path / file for name, file in zip(NAMES, LOCKS, strict=True)}
    module.__dict__.update(ROOT=tmp_path, **places)
    return module


@pytest.mark.parametrize("words", [["--help"], ["-h"], []])
def test_help_names_every_verb(words: list[str]) -> None:
    """Help, or no verb at all, lists the verbs and says what each does."""
    done = dev(*words)
    assert done.returncode == 0
    for verb in ("run", "test", "check", "e2e", "clients", "personalizer", "chaos", "bench", "image", "setup", "lock"):
        assert re.search(rf"^  \./dev {verb} ", done.stdout, re.MULTILINE)


def test_an_unknown_verb_is_one_line() -> None:
    """A mistyped verb is answered with one line and no traceback."""
    done = dev("tset")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "dev: 'tset' is not a verb: './dev --help' lists them\n"


def test_lock_files_fit(script: ModuleType) -> None:
    """The lock files were written from this pyproject.toml."""
    assert script.stale_locks() == []


def test_changed_dependency_makes_lock_files_stale(script: ModuleType) -> None:
    """A dependency that changed in pyproject.toml only is noticed; a change to anything else is not."""
    path = script.ROOT / "pyproject.toml"
    text = path.read_text()
    path.write_text(text.replace("line-length = 120", "line-length = 119"))
    assert script.stale_locks() == []
    path.write_text(text.replace('"httpx==', '"httpx>='))
    assert script.stale_locks() == [script.LOCK, script.DEV_LOCK]
    path.write_text(text.replace('"hatchling==', '"hatchling>='))
    assert script.stale_locks() == [script.BUILD_LOCK]
    path.write_text(text.replace('"duckdb==', '"duckdb>='))
    assert script.stale_locks() == [script.LOCK, script.DEV_LOCK, script.TOOLS_LOCK]


@pytest.mark.parametrize("name", LOCKS)
def test_lock_file_pins_with_hashes_and_names_no_index(name: str) -> None:
    """Every package has one version and hashes, and the file can be used with any index."""
    text = (ROOT / name).read_text()
    assert not re.search(r"://|^-", text, re.MULTILINE)
    packages = re.findall(r"^[a-z][^ ]*==\S+ .*\\\n +--hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)
    assert len(packages) == len(re.findall(r"^[a-zA-Z]", text, re.MULTILINE))


def test_one_version_in_all_lock_files() -> None:
    """Tests run with the versions that are served, and with those of the image's tools."""
    served, tested, _, tools = (
        set(re.findall(r"^[a-z]\S*==\S+", (ROOT / name).read_text(), re.MULTILINE)) for name in LOCKS
    )
    assert served | tools <= tested
    assert not served & tools


# What is run

SIDE_BY_SIDE = ["-n", "3", "--dist", "loadfile"]
EACH_CORE = ["-n", "auto", "--maxprocesses", "8", "--dist", "loadfile"]
NOT_SLOW = ["-m", "not slow", "--hypothesis-profile", "quick", "tests/unit"]
COVERED = ["tests/unit", "tests/contract"]
REST = [f"--ignore={each}" for each in COVERED]
JUDGED = [["coverage", "combine", "--quiet"], ["coverage", "report"]]


@pytest.mark.parametrize(
    ("words", "commands"),
    [
        ([], [["pytest", *SIDE_BY_SIDE]]),
        (["-k", "x"], [["pytest", "-k", "x"]]),
        (["--quick"], [["pytest", *EACH_CORE, *NOT_SLOW]]),
        (["--quick", "-x"], [["pytest", "-x", *NOT_SLOW]]),
        (["--cover", "-x"], [["coverage", "erase"], ["pytest", *SIDE_BY_SIDE, "-x"], *JUDGED]),
        (
            ["--cover"],
            [["coverage", "erase"], ["pytest", *SIDE_BY_SIDE, *COVERED], ["pytest", *SIDE_BY_SIDE, *REST], *JUDGED],
        ),
    ],
)
def test_quick_and_cover_choose_the_tests(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, words: list[str], commands: list[list[str]]
) -> None:
    """--quick runs unit tests that are not slow and installs no server; --cover judges the coverage of all processes
    and measures only tests that shall reach every branch; with words for pytest, all runs in one process."""
    run: list[list[str]] = []
    installed: list[list[str]] = []

    def status(*command: str, **environ: str) -> int:
        run.append(list(command))
        measured = command[0] == "pytest" and "--cover" in words and REST[0] not in command
        assert ("COVERAGE_PROCESS_START" in environ) == measured
        return 0

    monkeypatch.setattr(script, "fill", lambda _: None)
    monkeypatch.setattr(script, "install", installed.append)
    monkeypatch.setattr(script, "status", status)
    monkeypatch.setattr(script.os, "chdir", lambda _: None)
    assert script.main(["test", *words]) == 0
    assert run == commands
    assert bool(installed) == ("--quick" not in words)


# Programs and interpreters


def test_every_program_that_a_test_runs_is_installed(script: ModuleType) -> None:
    """'./dev test' installs each program that a test runs by its bare name, or every Debian has it."""
    of_every_debian = {"sh", "bash", "chmod", "mount", "sort"}
    named = re.compile(r"""(?:Popen|subprocess\.run)\(\s*\[\s*"([a-z][a-z0-9-]*)""")
    texts = [path.read_text() for path in (ROOT / "tests").rglob("*.py")]
    asked = {name for text in texts for name in named.findall(text)}
    assert "ps" in asked
    assert asked - of_every_debian <= set(script.NEEDS["test"])
    # Others are run by tests.support.processes.program, or in a shell as a document shows them.
    assert {"curl", "redis-server"} <= set(script.NEEDS["test"])


def test_every_needed_program_has_a_package(script: ModuleType) -> None:
    """Each program that a verb needs is in apt-get, and in brew unless macOS has it or the verb is for Debian."""
    for verb, programs in script.NEEDS.items():
        for name in programs:
            apt, brew = script.PACKAGES[name]
            assert apt
            assert brew or name in ("ps", "unshare") or verb in ("image", "browser")


def test_another_interpreter_has_a_venv_of_its_own(script: ModuleType) -> None:
    """--python with a path makes .venv-VERSION for that interpreter, and the other arguments are passed on."""
    version = ".".join(map(str, sys.version_info[:3]))
    for words in (["-k", "x", "--python", sys.executable], ["-k", f"--python={sys.executable}", "x"]):
        script.__dict__["PYTHON"] = None
        assert script.choose_python(words) == ["-k", "x"]
        assert script.ROOT / f".venv-{version}" / "bin" / "python" == script.PYTHON
        assert sys.executable == script.BASE
    script.make_venv(None)
    asked = [script.PYTHON, "-c", "import sys; print(sys.prefix, *sys.version_info[:3])"]
    said = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    assert said.split() == [str(script.PYTHON.parent.parent), *version.split(".")]


def test_a_version_names_a_program(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """3.99 and python3.99 both mean the program python3.99 on the PATH."""
    (tmp_path / "python3.99").write_text("#!/bin/sh\necho 3 99 1\n")
    (tmp_path / "python3.99").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for word in ("3.99", "python3.99", str(tmp_path / "python3.99")):
        assert script.interpreter(word) == str(tmp_path / "python3.99")
    script.choose_python(["--python", "3.99"])
    assert script.VENV.name == ".venv-3.99.1"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--python"], "--python takes a path, a version such as 3.13 or a name such as python3.13"),
        (["--python", "3.98"], "--python 3.98: python3.98 is not an executable program on the PATH"),
        (["--python", "/nowhere/python3"], "--python /nowhere/python3: /nowhere/python3 is not an executable program"),
        (["--python", "/bin/true"], "/bin/true is not a working Python"),
    ],
)
def test_a_wrong_interpreter_is_one_line(words: list[str], said: str) -> None:
    """A word that does not name an interpreter is answered with one line, before anything is installed."""
    done = dev("test", *words)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"dev: {said}\n")


def test_an_old_interpreter_is_refused(script: ModuleType, tmp_path: Path) -> None:
    """A Python that the service does not run on is refused by its version."""
    old = tmp_path / "python3.9"
    old.write_text("#!/bin/sh\necho 3 9 18\n")
    old.chmod(0o755)
    with pytest.raises(script.Problem, match=r"needs Python >= 3\.11, and .* is 3\.9\.18"):
        script.choose_python(["--python", str(old)])


# What is said while something is installed

DRIVER = """
import importlib.machinery, importlib.util, sys
loader = importlib.machinery.SourceFileLoader("dev_script", sys.argv[1])
module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
loader.exec_module(module)
module.SAY_SECONDS = 0.05
try:
    module.run(["sh", "-c", sys.argv[2]], "could not do it", "go\\n")
except module.Problem as problem:
    sys.exit(str(problem))
"""


@pytest.mark.parametrize("code", [0, 3])
def test_a_long_command_says_how_far_it_is(tmp_path: Path, code: int) -> None:
    """While a command runs, its last line is repeated with the time it has taken; all it wrote is shown if it fails."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    command = f"read said; echo first; echo unpacking $said; cat {gate}; exit {code}"
    driver = [sys.executable, "-u", "-c", DRIVER, str(ROOT / "dev"), command]
    with subprocess.Popen(driver, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            while not re.fullmatch(r" +\d+ s  unpacking go\n", line := process.stdout.readline()):
                assert line, process.stderr.read()
            gate.write_text("last\n")
            assert process.wait(PATIENCE_SECONDS) == (1 if code else 0)
        finally:
            process.kill()
        said = process.stderr.read()
    assert said == ("first\nunpacking go\nlast\ncould not do it\n" if code else "")
