"""The image that the Dockerfile builds on, made here: Debian by debootstrap, and the running Python under /usr/local.

It stands in for python:3.13-slim-trixie, which is in a registry that a build on this machine may not reach.
"""

import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.support.processes import program

__all__ = ["ImageError", "fill"]

# What a Python has and an image does not need: 900 MB of tests, static libraries and other people's packages.
_LEFT_OUT = (
    "__pycache__",
    "test",
    "tests",
    "site-packages",
    "idlelib",
    "tkinter",
    "turtledemo",
    "config-*",
    "_tkinter*",
)
_AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")


class ImageError(Exception):
    """A step failed; the message is the one line that is shown."""


def fill(root: Path) -> None:
    """Fill the empty directory `root` with a small Debian that has this Python, with pip, under /usr/local."""
    prefix = Path(sys.base_prefix)
    if prefix == Path("/usr"):
        raise ImageError(f"{sys.executable} is Debian's own Python, which refuses pip: name another with --python")
    suite = platform.freedesktop_os_release()["VERSION_CODENAME"]
    command = [program("debootstrap"), "--variant=minbase", "--include=ca-certificates", suite, str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ImageError(f"debootstrap could not make a {suite}: {done.stdout.strip()[-200:]}")
    for folder in ("var/cache/apt/archives", "var/lib/apt/lists", "var/log", "usr/share/doc", "usr/share/locale"):
        shutil.rmtree(root / folder)
        (root / folder).mkdir()
    _copy_python(prefix, root)
    # Whom this machine trusts the image trusts, too: an index may be behind a proxy with a certificate of its own.
    shutil.copy(_AUTHORITIES, root / _AUTHORITIES.relative_to("/"))
    (root / "etc" / "pip.conf").write_text(f"[global]\ncert = {_AUTHORITIES}\n")


def _copy_python(prefix: Path, root: Path) -> None:
    """Copy the Python at `prefix`, and the libraries it needs, and make it `python` with pip."""
    local, version = root / "usr" / "local", f"python{sysconfig.get_python_version()}"
    (local / "bin").mkdir(exist_ok=True)
    shutil.copy(prefix / "bin" / version, local / "bin")
    for name in ("python", "python3"):
        (local / "bin" / name).symlink_to(version)
    shutil.copytree(prefix / "lib" / version, local / "lib" / version, ignore=shutil.ignore_patterns(*_LEFT_OUT))
    (local / "lib" / version / "site-packages").mkdir()
    modules = [prefix / "bin" / version, *(local / "lib" / version / "lib-dynload").glob("*.so")]
    listed = subprocess.run([program("ldd"), *modules], capture_output=True, text=True, check=True).stdout
    for library in {Path(line.split()[2]) for line in listed.splitlines() if " => /" in line}:
        if not (root / "lib" / sysconfig.get_config_var("MULTIARCH") / library.name).exists():
            shutil.copy(library, local / "lib" / library.name)
    for command in (["ldconfig"], ["/usr/local/bin/python", "-m", "ensurepip", "--default-pip"]):
        subprocess.run([program("chroot"), str(root), *command], capture_output=True, check=True)
    shutil.rmtree(root / "dev")  # whoever runs the image makes its devices
    (root / "dev").mkdir()
