"""The Tab key after `python -m app`, pressed in a real shell, set up as docs/run/moving.md says."""

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.support.processes import ROOT, program
from tests.support.waiting import PATIENCE_SECONDS

# Each shell without the files of whoever runs the test, and what its own set-up does.
SHELLS: Final = {
    "bash": (["--norc", "--noprofile", "-i"], ""),
    "zsh": (["-f", "-i"], "autoload -Uz compinit && compinit -D"),
}
[SET_UP] = re.findall(r"^(eval .*argcomplete.*)$", (ROOT / "docs/run/moving.md").read_text(), re.MULTILINE)


class Terminal:
    """What a shell writes on a terminal, and what is typed there."""

    def __init__(self, end: int) -> None:
        self._end = end

    def type(self, text: str, awaited: str) -> str:
        """Type, and wait until the screen shows what is awaited; what was shown since."""
        os.write(self._end, text.encode())
        shown, deadline = "", time.monotonic() + PATIENCE_SECONDS
        while awaited not in shown:
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} was answered {shown!r}"
            if select.select([self._end], [], [], left)[0]:
                shown += os.read(self._end, 65_536).decode()
        return shown


@contextmanager
def terminal(shell: str, directory: Path) -> Iterator[Terminal]:
    """A terminal with this shell, in a checkout whose Python comes first."""
    words, own = SHELLS[shell]
    ours, theirs = pty.openpty()
    kept = {name: os.environ[name] for name in ("LANG",) if name in os.environ}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environ = kept | {"PATH": path, "HOME": str(directory), "TERM": "dumb", "PS1": "> "}
    argv = [program(shell), *words]
    process = subprocess.Popen(
        argv, stdin=theirs, stdout=theirs, stderr=theirs, env=environ, cwd=ROOT, start_new_session=True
    )
    try:
        os.close(theirs)
        made = Terminal(ours)
        made.type(f"{own}\n{SET_UP}\necho se''t up\n", "set up")
        yield made
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_tab_key(shell: str, tmp_path: Path) -> None:
    """It completes commands, those within them, options, roles and files, and none of it starts the service."""
    with terminal(shell, tmp_path) as typed:
        for begun, completed in {
            "sho": "show ",
            "events rep": "events replay ",
            "log comp": "log compact ",
            "erase ann --th": "erase ann --thorough ",
            "key phone cl": "key phone client ",
            "restore requirements-bu": "restore requirements-build.lock ",
        }.items():
            typed.type(f"python -m app {begun}\t", f"python -m app {completed}")
            typed.type("\x15echo cle''ared\n", "cleared")
        shown = typed.type("python -m app \t\t", "simulate")
        assert "import" in shown


def test_without_the_extra_nothing_is_loaded() -> None:
    """A command needs no more modules than before, and the service neither."""
    asked = "import sys, app.__main__, app.commands.cli; sys.exit('argcomplete' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", asked], cwd=ROOT, check=False).returncode == 0
