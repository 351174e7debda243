"""Clients made from the OpenAPI document, checked strictly and tried against the service: `./dev clients`.

Each generator reads the document from the running service and is called as a user would call it. Everything happens in
`.cache/clients`. Ends with a line "N passed, 0 failed".
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from app.http.api_keys import make_key
from tests.support.environments import install, python_environment
from tests.support.processes import ROOT
from tests.support.service import service

HERE = Path(__file__).parent
PLACE = ROOT / ".cache" / "clients"
Run = Callable[[str], str]


class Failed(Exception):
    """A command failed; the message is what it printed."""


def fill() -> Path:
    """Install the generators and checkers; the folder of their programs, Node among them."""
    programs = python_environment("clients-venv", HERE / "requirements.lock")
    PLACE.mkdir(exist_ok=True)
    for path in (*HERE.glob("*.json"), *HERE.glob("typed_*")):
        shutil.copy(path, PLACE)
    # A client is checked as a stranger would check it, not by the rules of this project.
    (PLACE / "pyproject.toml").write_text("[tool.mypy]\n[tool.ruff]\n")
    words = ["npm", "ci", "--silent", "--no-audit", "--no-fund", "--prefix", str(PLACE)]
    install(PLACE / "node_modules", HERE / "package-lock.json", words, path=programs)
    return programs


def runner(environ: Mapping[str, str]) -> Run:
    """A function that runs one command line in PLACE and returns what it printed. It raises Failed."""

    def run(line: str) -> str:
        done = subprocess.run(
            line.split(),
            cwd=PLACE,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise Failed(f"{line}\n{done.stdout}")
        return done.stdout

    return run


# The cases: each says in a sentence what must be so


def typescript(run: Run, document: str) -> str:
    """Clients of openapi-typescript and hey-api pass `tsc --strict`, decide, reward and meet typed errors."""
    run(f"npx openapi-typescript {document} -o fetched/service.d.ts")
    run(f"npx openapi-ts -i {document} -o generated")
    run("npx tsc")
    return run("node built/typed_fetch.js") + run("node built/typed_sdk.js")


def python(run: Run, document: str) -> str:
    """A client of openapi-python-client passes `mypy --strict`, decides, rewards and meets typed errors."""
    said = run(f"openapi-python-client generate --url {document} --meta none --output-path client --fail-on-warning")
    assert said == "Generating client\n", said
    run("mypy --strict client typed_python.py")
    return run("python typed_python.py")


CASES = [typescript, python]


def tried(case: Callable[[Run, str], str], run: Run, document: str) -> bool:
    """Whether a case passed; says so, with what it printed."""
    try:
        said = case(run, document)
    except (Failed, AssertionError) as error:
        print(f"FAILED  {case.__doc__}\n{error}", flush=True)
        return False
    print(f"ok      {case.__doc__}\n{said}", end="", flush=True)
    return True


def main() -> int:
    started = time.monotonic()
    programs = fill()
    for name in ("fetched", "generated", "client", "built"):
        shutil.rmtree(PLACE / name, ignore_errors=True)
    (client, first), (reader, second) = (make_key(role, role) for role in ("client", "reader"))
    path = os.pathsep.join([str(programs), os.environ["PATH"]])
    with service({"API_KEYS": f"{first}\n{second}"}) as server, ThreadPoolExecutor(len(CASES)) as pool:
        environ = os.environ | {"PATH": path, "URL": server.url, "CLIENT_KEY": client, "READER_KEY": reader}
        document = f"{server.url}/schema/openapi.json"
        passed = sum(pool.map(lambda case: tried(case, runner(environ), document), CASES))
    print(f"{passed} passed, {len(CASES) - passed} failed in {time.monotonic() - started:.0f} s")
    return 0 if passed == len(CASES) else 1


if __name__ == "__main__":
    sys.exit(main())
