"""The SDKs of Azure Personalizer, unmodified, against the service on Redis: `./dev personalizer`.

Each SDK has an application of its own, served by two replicas behind a proxy that fails some requests. The SDKs and
Node get environments of their own under .cache. Ends with a line "N passed, 0 failed".
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from app.http.api_keys import make_key
from tests.personalizer.hop import hop
from tests.support.environments import install, python_environment
from tests.support.processes import ROOT, temporary_directory
from tests.support.redis_servers import redis_server
from tests.support.service import service
from tests.support.waiting import ServerError

HERE = Path(__file__).parent
PLACE = ROOT / ".cache" / "personalizer"
KEY = "a-key-of-an-application"
FAULTS = ("refuse", "lose", "cut")
COUNTERS = ("pulls", "reward_count", "cumulative_reward")


class Sdk(NamedTuple):
    """A program that uses an SDK. It ends with a line of what the service must have counted, {} for anything."""

    name: str
    program: str


SDKS = [
    Sdk("azure-ai-personalizer 1.0.0b1 (Python)", "python ai_python.py"),
    Sdk("azure-ai-personalizer 1.0.0b1 (Python), administration", "python ai_administration.py"),
    Sdk("azure-cognitiveservices-personalizer 0.1.1 (Python)", "python old_python.py"),
    Sdk("@azure-rest/ai-personalizer 1.0.0-beta.1 (npm)", "node rest_node.mjs"),
    Sdk("@azure/cognitiveservices-personalizer 2.0.1 (npm)", "node old_node.mjs"),
]

# An application for each program, and those whom the four SDKs name in a header.
USERS = len(SDKS) + 4


class Failed(Exception):
    """A program failed; the message is what it printed."""


def fill() -> Path:
    """Install the SDKs; the folder of their programs, Node among them."""
    programs = python_environment("personalizer-venv", HERE / "requirements.lock")
    PLACE.mkdir(exist_ok=True)
    for path in (*HERE.glob("*.json"), *HERE.glob("*.mjs"), *HERE.glob("ai_*.py"), *HERE.glob("old_*.py")):
        shutil.copy(path, PLACE)
    words = ["npm", "ci", "--silent", "--no-audit", "--no-fund", "--prefix", str(PLACE)]
    install(PLACE / "node_modules", HERE / "package-lock.json", words, path=programs)
    return programs


def ran(line: str, environ: Mapping[str, str]) -> str:
    """What a command line prints. Raises Failed."""
    done = subprocess.run(
        line.split(), cwd=PLACE, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        raise Failed(f"{line}\n{done.stdout}")
    return done.stdout.rstrip("\n")


def counters(url: str, user: str, key: str) -> dict[str, float]:
    """What the policies of a user have counted together."""
    answer = httpx.get(f"{url}/users/{user}", headers={"Authorization": f"Bearer {key}"}).raise_for_status()
    policies: Any = answer.json()["policies"].values()
    return {name: sum(policy[name] for policy in policies) for name in COUNTERS}


def tried(sdk: Sdk, programs: Path, shared: Mapping[str, str]) -> str:
    """What an SDK's program says, run against an application of its own. Raises Failed or AssertionError."""
    user = sdk.program.split()[-1]
    reader, keys = make_key("reader", "reader")
    settings = {**shared, "PERSONALIZER_KEY": f"another-key,{KEY}", "PERSONALIZER_APP": user, "API_KEYS": keys}
    with ExitStack() as stack:
        replicas = [stack.enter_context(service(settings)) for _ in range(2)]
        proxy = stack.enter_context(hop(replicas))
        path = os.pathsep.join([str(programs), os.environ["PATH"]])
        # As the portal showed it, with a slash at its end.
        environ = os.environ | {"PATH": path, "ENDPOINT": f"{proxy.url}/", "KEY": KEY}
        said, _, last = ran(sdk.program, environ).rpartition("\n")
        if counted := json.loads(last):
            found = counters(replicas[0].url, user, reader)
            assert found == counted, f"the service counted {found}, the application {counted}"
            assert all(proxy.faults[fault] for fault in FAULTS), proxy.faults
        assert not proxy.refusals, f"refused for good, and with a Retry-After: {proxy.refusals}"
        assert not any(KEY in replica.log for replica in replicas), "the key is in the log of a replica"
    return said


def told(sdk: Sdk, programs: Path, shared: Mapping[str, str]) -> bool:
    """Whether an SDK's program passed; says so, with what it printed."""
    try:
        said = tried(sdk, programs, shared)
    except (Failed, AssertionError, httpx.HTTPError, ServerError) as error:
        print(f"FAILED  {sdk.name}\n{error}", flush=True)
        return False
    print(f"ok      {sdk.name}\n{said}", flush=True)
    return True


def verified(shared: Mapping[str, str]) -> bool:
    """Whether the models in Redis are those that the log of decisions tells, bit for bit; says so."""
    words = [sys.executable, "-m", "app", "log", "verify", shared["DECISION_LOG"].removeprefix("file://")]
    done = subprocess.run(words, cwd=ROOT, env=os.environ | shared, capture_output=True, text=True, check=False)
    agree = done.stdout == f"users that agree: {USERS}; that differ: 0; not known: 0\n"
    print(
        f"{'ok     ' if agree else 'FAILED '} the log of decisions\n{done.stdout.rstrip() if agree else done}",
        flush=True,
    )
    return agree


def main() -> int:
    started = time.monotonic()
    programs = fill()
    with redis_server() as redis, temporary_directory() as log, ThreadPoolExecutor(len(SDKS)) as pool:
        shared = {"REDIS_URL": redis.url, "DECISION_LOG": f"file://{log}"}
        passed = sum(pool.map(lambda sdk: told(sdk, programs, shared), SDKS))
        passed += verified(shared)
    failed = len(SDKS) + 1 - passed
    print(f"{passed} passed, {failed} failed in {time.monotonic() - started:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
