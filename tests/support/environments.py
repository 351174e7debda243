"""What a run installs for itself under `.cache`, as a lock file pins it, since the service must not share it."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support.processes import ROOT

__all__ = ["install", "python_environment"]


def install(folder: Path, lock: Path, *commands: Sequence[str], path: Path | None = None) -> None:
    """Run the commands, with the programs in `path` first, unless they filled `folder` for this content of `lock`."""
    stamp = folder / "installed"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    print(f"installing {lock.relative_to(ROOT)} into {folder.relative_to(ROOT)}", flush=True)
    folder.parent.mkdir(exist_ok=True)
    environ = os.environ | ({} if path is None else {"PATH": f"{path}{os.pathsep}{os.environ['PATH']}"})
    for command in commands:
        subprocess.run(command, check=True, env=environ)
    stamp.write_text(digest)


def python_environment(name: str, lock: Path) -> Path:
    """The folder of programs of a Python environment, `.cache/NAME`, with what `lock` pins."""
    venv = ROOT / ".cache" / name
    uv = str(Path(sys.executable).with_name("uv"))
    made = [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(venv)]
    filled = [uv, "pip", "install", "--quiet", "--python", str(venv / "bin" / "python"), "--compile-bytecode"]
    install(venv, lock, made, [*filled, "--require-hashes", "-r", str(lock)])
    return venv / "bin"
