"""The Dockerfile, linted, and its steps followed outside a container: built, installed, run as an arbitrary user."""

import functools
import json
import os
import re
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import yaml

from app import __version__
from tests.support.processes import ROOT, Server, free_port, http_answers, program
from tests.support.waiting import PATIENCE_SECONDS, until

USER = 65_532
VENV_BIN = Path(sys.executable).parent
BUILDING = ("build", "build-tools")


class Step(msgspec.Struct, frozen=True):
    """One instruction of a Dockerfile, with the name of its stage."""

    stage: str
    word: str
    rest: str


def dockerfile() -> list[Step]:
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    found, stage = [], ""
    for line in text.splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            stage = rest.split(" AS ")[1] if word == "FROM" else stage
            found.append(Step(stage, word, " ".join(rest.split())))
    return found


def final(word: str, stage: str = "serving") -> list[str]:
    """The operands of an instruction in an image, the last one if no other is named, and in what it begins with."""
    return [step.rest for step in dockerfile() if step.word == word and step.stage in ("bare", stage)]


def command(word: str) -> list[str]:
    """The exec-form command of CMD or HEALTHCHECK."""
    (rest,) = final(word)
    words: list[str] = json.loads(rest[rest.index("[") :])
    return words


def test_hadolint_is_content() -> None:
    """The Dockerfile has none of the faults hadolint knows."""
    run = subprocess.run([VENV_BIN / "hadolint", ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "")


def test_image_is_pinned_and_small() -> None:
    """All stages start from one base that a digest pins; an image holds what was installed and nothing to install. What
    serves is the last, and the other differs by what was installed alone."""
    steps = dockerfile()
    base = "${PYTHON_IMAGE}${PYTHON_DIGEST:+@${PYTHON_DIGEST}}"
    stages = [f"{base} AS build", "build AS build-tools", f"{base} AS bare", "bare AS tools", "bare AS serving"]
    assert [step.rest for step in steps if step.word == "FROM"] == stages
    assert final("COPY") == ["--from=build /opt/oo /opt/oo"]
    assert final("COPY", "tools") == ["--from=build-tools /opt/oo /opt/oo"]
    assert [step.word for step in steps if step.stage in ("tools", "serving")] == 2 * ["FROM", "COPY"]
    (removal,) = final("RUN")
    assert removal.startswith("python -m pip uninstall --yes --root-user-action=ignore setuptools wheel pip && rm -r ")
    assert "ensurepip" in removal
    assert not [step for step in steps if step.word == "ADD"]


def test_nothing_is_fetched_without_a_hash() -> None:
    """Each pip command takes what a lock file has the hash of, or asks no index; none fetches what builds a package."""
    runs = [step.rest for step in dockerfile() if step.word == "RUN" and step.stage in BUILDING]
    commands = [set(text.split()) for run in runs for text in run.split("&&") if " pip " in text]
    assert len(commands) == 6
    for words in commands:
        assert "--no-deps" in words
        assert "--no-index" in words or {"--require-hashes", "--only-binary"} <= words
        assert "wheel" not in words or "--no-build-isolation" in words
    locked = set(re.findall(r"^([^ ]+) ", (ROOT / "requirements-build.lock").read_text(), flags=re.MULTILINE))
    assert set(tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]) <= locked


def test_image_runs_what_the_chart_runs() -> None:
    """Numeric user, port, command and version are those of the chart, whose pod forbids root."""
    values = yaml.safe_load((ROOT / "helm" / "values.yaml").read_text())
    context = values["podSecurityContext"]
    assert final("USER") == [f"{context['runAsUser']}:{context['runAsGroup']}"] == [f"{USER}:{USER}"]
    assert final("EXPOSE") == [str(values["config"]["PORT"])]
    assert "command: [python, -m, app]" in (ROOT / "helm" / "templates" / "deployment.yaml").read_text()
    assert command("CMD") == ["python", "-m", "app"]
    assert f"VERSION={__version__}" in final("ARG")
    (label,) = final("LABEL")
    assert {"title", "description", "version", "revision"} <= set(
        re.findall(r"org\.opencontainers\.image\.(\w+)=", label)
    )


def test_context_holds_only_what_is_copied() -> None:
    """Everything the Dockerfile copies is let through by .dockerignore, and nothing else."""
    copied = {
        source.removeprefix("./")
        for step in dockerfile()
        if step.word == "COPY" and not step.rest.startswith("--from")
        for source in step.rest.split()[:-1]
    }
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == copied


def test_documents_say_what_builders_do_otherwise() -> None:
    """buildah and podman drop the HEALTHCHECK, and Debian's own Python takes no packages: the page says so with the
    command that helps, and so does the Dockerfile, which another tool may read alone."""
    page, head = (ROOT / "docs/run/kubernetes.md").read_text(), (ROOT / "Dockerfile").read_text().partition("FROM ")[0]
    assert final("HEALTHCHECK")
    for text in (page, head):
        assert "--format docker" in text
        assert "HEALTHCHECK" in text
        assert "externally managed" in text
    built = re.findall(r"^(?:buildah|podman) (?:build|bud) .*", page, re.MULTILINE)
    assert built
    assert [line for line in built if "--format docker" not in line] == []


def test_documents_name_the_base() -> None:
    """The document pins the digest of the very image that the Dockerfile builds on, and the base is a version that
    pyproject.toml allows."""
    (image,) = [step.rest.partition("=")[2] for step in dockerfile() if step.rest.startswith("PYTHON_IMAGE=")]
    name = image.removeprefix("docker.io/library/")
    inspected = re.findall(r"imagetools inspect (\S+)", (ROOT / "docs" / "run" / "kubernetes.md").read_text())
    assert inspected == [name]
    oldest = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(">=")
    version = re.fullmatch(r"python:(\d+\.\d+)-slim-\w+", name)
    assert version
    assert [int(part) for part in version[1].split(".")] >= [int(part) for part in oldest.split(".")]


def interpreter() -> str:
    """A Python that a user without rights may run: the running one may lie in somebody's home."""
    own = str(getattr(sys, "_base_executable", sys.executable))
    if os.geteuid() != 0:
        return own
    for path in (own, "/usr/local/bin/python3", "/usr/bin/python3"):
        real = Path(path).resolve()
        if real.exists() and all(folder.stat().st_mode & stat.S_IXOTH for folder in real.parents):
            return str(real)
    raise AssertionError("no Python that another user may run: install python3")


@pytest.fixture(scope="module")
def prefix() -> Iterator[Path]:
    """The tree that the build stage leaves at /opt/oo, made by that stage's own commands, owned by root."""
    with tempfile.TemporaryDirectory(prefix="oo-image-") as name:
        root = Path(name)
        root.chmod(0o755)
        uv = [str(VENV_BIN / "uv"), "venv", "--quiet", "--seed", "--python", interpreter(), str(root / "base")]
        subprocess.run(uv, check=True)
        environ = os.environ | {"PATH": f"{root / 'base' / 'bin'}{os.pathsep}{os.environ['PATH']}"}
        environ.pop("PYTHONPATH", None)
        environ |= {"PIP_RETRIES": "10", "PIP_DEFAULT_TIMEOUT": "60"}  # an index may be slow or stumble
        places = {"/opt/oo": root / "opt" / "oo", "/src": root / "src", "/wheels": root / "wheels"}

        def placed(text: str) -> str:
            return re.sub(r"(?<![\w.])(/opt/oo|/src|/wheels)\b", lambda match: str(places[match[1]]), text)

        here = root
        for step in dockerfile():
            if step.stage != "build":
                continue
            if step.word == "WORKDIR":
                here = Path(placed(step.rest))
                here.mkdir(parents=True)
            elif step.word == "COPY":
                *sources, target = step.rest.split()
                for source in sources:
                    if (ROOT / source).is_dir():
                        shutil.copytree(ROOT / source, here / target, ignore=shutil.ignore_patterns("__pycache__"))
                    else:
                        shutil.copy(ROOT / source, here / target)
            elif step.word == "RUN":
                run = subprocess.run(
                    ["sh", "-c", placed(step.rest)], cwd=here, env=environ, capture_output=True, text=True, check=False
                )
                assert run.returncode == 0, run.stdout + run.stderr
        tree = places["/opt/oo"]
        subprocess.run(["chmod", "-R", "a-w,a+rX", tree], check=True)
        try:
            yield tree
        finally:
            subprocess.run(["chmod", "-R", "u+w", tree], check=True)


def as_nobody(words: list[str], prefix: Path) -> list[str]:
    """The command, run by the image's user where we are root and without any privilege."""
    rest = [str(prefix / "bin" / words[0]), *words[1:]]
    if os.geteuid() != 0:
        return rest
    ids = [f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--no-new-privs", "--bounding-set=-all"]
    return [program("setpriv"), *ids, *rest]


def image_environ(prefix: Path, port: int) -> dict[str, str]:
    """ENV of the Dockerfile, on a port of the test's own, and nothing of ours."""
    (words,) = final("ENV")
    found = dict(word.split("=", 1) for word in shlex.split(words))
    assert found["PORT"] == "8000"
    return found | {"PATH": f"{prefix / 'bin'}:/usr/bin:/bin", "PORT": str(port)}


def loopbacks() -> list[str]:
    """This machine's own address in each family of addresses that it has, as URLs have it."""
    found = ["127.0.0.1"]
    with suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        found.append("[::1]")
    return found


def test_prefix_holds_the_locked_packages(prefix: Path) -> None:
    """Exactly the packages of the lock file that fit this platform are installed, and ours; no pip."""
    (folder,) = prefix.glob("lib/python3*/site-packages")
    installed = {path.name.partition("-")[0].lower().replace("_", "-") for path in folder.glob("*.dist-info")}
    locked = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE))
    assert installed - locked == {"oo-serving"}
    assert {"litestar", "numpy", "redis"} <= installed
    assert not list(prefix.glob("bin/pip*"))
    data = {path.relative_to(ROOT) for top in ("app", "state") for path in (ROOT / top).rglob("*.*")}
    data = {path for path in data if path.suffix not in (".py", ".pyc")}
    assert {"app/tips/templates/v2.md", "state/inspect.lua"} <= {str(path) for path in data}
    assert [path for path in data if not (folder / path).is_file()] == []
    assert not list(folder.glob("tests"))


def listing(prefix: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of everything under `prefix`."""
    found = {path: path.lstat() for path in prefix.rglob("*")}
    return {str(path): (state.st_size, state.st_mtime_ns) for path, state in found.items()}


def test_image_serves_as_a_user_without_rights(prefix: Path) -> None:
    """Run by the numeric user on a tree it cannot write, the image's command serves on every address, its health check
    agrees before and after, it stops in order on SIGTERM, and has written nothing."""
    before = listing(prefix)
    port = free_port()
    # A proxy for the world outside, which is no way to ourselves.
    environ = image_environ(prefix, port) | {"http_proxy": "http://127.0.0.1:9", "STORE_TIMEOUT_SECONDS": "30"}
    check = as_nobody(command("HEALTHCHECK"), prefix)

    def healthy() -> int:
        return subprocess.run(check, env=environ, capture_output=True, check=False).returncode

    assert healthy() == 1
    argv = as_nobody(command("CMD"), prefix)
    with tempfile.TemporaryDirectory(prefix="oo-") as name:
        url = f"http://127.0.0.1:{port}"
        ready = functools.partial(http_answers, path="/health/ready", status=200)
        server = Server(argv, port=port, url=url, directory=Path(name), ready=ready, environ=environ)
        try:
            server.start()
            status = Path(f"/proc/{server.pid}/status")
            if status.exists() and os.geteuid() == 0:
                found = dict(line.split(":", 1) for line in status.read_text().splitlines())
                assert found["Uid"].split() == 4 * [str(USER)]
                assert int(found["CapBnd"], 16) == 0
            body: dict[str, Any] = {"user_id": "u", "candidates": [{"id": "a", "content": "a", "source": "test"}]}
            answer = httpx.post(f"{url}/score", json=body, timeout=PATIENCE_SECONDS)
            assert (answer.status_code, answer.json()["tip_id"]) == (200, "a")
            for loopback in loopbacks():
                reached = httpx.get(f"http://{loopback}:{port}/health/live", timeout=PATIENCE_SECONDS)
                assert reached.status_code == 200, loopback
            until(lambda: healthy() == 0, "the health check agrees")  # a busy machine may need longer than its 4 s
            where = [str(prefix / "bin" / "python"), "-c", "import app; print(app.__file__)"]
            out = subprocess.run(where, env=environ, capture_output=True, text=True, check=True).stdout
            assert out.startswith(str(prefix))
            # uvicorn hands the signal on to the system once it has shut down.
            assert server.stop() in (0, -signal.SIGTERM)
            assert "Finished server process" in server.log
        finally:
            server.kill()
    assert healthy() == 1
    assert listing(prefix) == before
