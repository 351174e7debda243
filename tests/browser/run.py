"""The console in a browser: `./dev browser`, or `./dev browser --pictures DIR` for a picture of each page in each look.

The service runs on a real Redis with a log of decisions, filled with a day of them. Ends with "N passed, 0 failed".
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from app.http.api_keys import ROLES, make_key
from tests.browser.day import POLICIES, USERS, made_day
from tests.support.environments import python_environment
from tests.support.processes import ROOT, program, temporary_directory
from tests.support.redis_servers import redis_server
from tests.support.service import service

LOCK: Final = Path(__file__).parent / "requirements.lock"
LOOP: Final = "tips"
CHALLENGER: Final = "tips-v3"


def pages(decisions: dict[str, str]) -> dict[str, str]:
    """The paths of the pages to look at, by the names of their pictures."""
    user = quote(USERS[0], safe="")
    return {
        "overview": "/console",
        "loop": f"/console/loops/{LOOP}",
        "loop-other": "/console/loops/messages",
        "loop-unused": "/console/loops/unused",
        "users": "/console/users",
        "user-new": "/console/users/nobody-knows-me",
        "user-odd": f"/console/users/{quote(USERS[-1], safe='')}?loop=messages&policy=message-per-hour-and-channel",
        "user-crosses": f"/console/users/{user}?loop={LOOP}&policy={CHALLENGER}",
        "decisions": "/console/decisions",
        "decision-open": f"/console/decisions/{decisions['open']}",
        "decision-rewarded": f"/console/decisions/{decisions['rewarded']}",
        "decision-unknown": "/console/decisions/nosuch.YW5u",
        "try": "/console/try",
        "try-known": f"/console/try?user={user}&loop=messages",
        "user": f"/console/users/{user}",
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev browser", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="only make pictures, in this directory")
    pictures: Path | None = parser.parse_args().pictures
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
    python = python_environment("browser-venv", LOCK) / "python"
    started = time.monotonic()
    made = {role: make_key(role, role) for role in ROLES}
    with redis_server() as redis, temporary_directory() as log:
        decisions = asyncio.run(made_day(redis.url, log))
        environ = {"REDIS_URL": redis.url, "POLICIES": str(POLICIES), "DECISION_LOG": f"file://{log}"}
        # A picture of the gate over time takes more than one look at it.
        for hours in (0,) if pictures is None else (16, 8, 0):
            as_of = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 3_600 * hours))
            judge = [sys.executable, "-m", "app", "judge", str(log), "--as-of", as_of]
            subprocess.run(judge, env=os.environ | environ, check=True, capture_output=True)
        with service({**environ, "API_KEYS": "\n".join(line for _, line in made.values())}) as server:
            print(f"a day of decisions, judged and served after {time.monotonic() - started:.0f} s", flush=True)
            told: dict[str, Any] = {
                "url": server.url,
                "keys": {role: key for role, (key, _) in made.items()},
                "pages": pages(decisions),
                "loop": LOOP,
                "challenger": CHALLENGER,
                "chromium": program("chromium"),
                "pictures": None if pictures is None else str(pictures.resolve()),
            }
            walk = [str(python), "-m", "tests.browser.walk"]
            # The keys go by stdin: anybody may read the arguments of a process.
            code = subprocess.run(walk, cwd=ROOT, input=json.dumps(told), text=True, check=False).returncode
            server.stop()
            assert not any(key in server.log for key in told["keys"].values()), "a key is in the service's log"
    return code


if __name__ == "__main__":
    sys.exit(main())
