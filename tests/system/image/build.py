"""The Dockerfile, built by buildah without a daemon and without a registry."""

import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.support.processes import ROOT, program
from tests.system.image.base import ImageError, fill

__all__ = ["Builder", "differences"]

_PATH = "PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"


def _base_name() -> str:
    """The image that the Dockerfile builds on, by the name that it has there."""
    found = re.search(r"^ARG PYTHON_IMAGE=(\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    if found is None:
        raise ImageError("the Dockerfile has no ARG PYTHON_IMAGE")
    return found[1]


class Builder:
    """Images in a store of their own at `directory`, apart from any others of this machine."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        places = ["--root", str(directory / "store"), "--runroot", str(directory / "run")]
        # vfs works on any file system, and in a sandbox.
        self._buildah = [program("buildah"), "--storage-driver", "vfs", *places]

    def _run(self, *words: str) -> str:
        done = subprocess.run([*self._buildah, *words], capture_output=True, text=True, check=False, cwd=ROOT)
        if done.returncode:
            raise ImageError(f"buildah {words[0]} failed:\n{(done.stdout + done.stderr).strip()[-2000:]}")
        return done.stdout.strip()

    def base(self) -> None:
        """Make the image that the Dockerfile builds on, and call it by its name."""
        with tempfile.TemporaryDirectory(prefix="oo-base-", dir=self.directory) as name:
            root = Path(name) / "root"
            root.mkdir()
            fill(root)
            container = self._run("from", "scratch")
            self._run("copy", "--quiet", container, str(root), "/")
        self._run("config", "--env", _PATH, container)
        self._run("commit", "--quiet", "--rm", "--format", "docker", container, _base_name())

    def build(self, tag: str) -> None:
        """Build the Dockerfile, every step anew.

        The chroot isolation needs no namespaces, and --timestamp gives files one time: when they were built is no part
        of what was built.
        """
        how = ["--isolation", "chroot", "--network", "host", "--pull-never", "--no-cache", "--timestamp", "0"]
        self._run("bud", "--quiet", "--format", "docker", *how, "--tag", tag, "--file", "Dockerfile", ".")

    def inspect(self, tag: str) -> dict[str, Any]:
        """What the image says of itself; under "Docker" with HEALTHCHECK, under "OCIv1" without."""
        found: dict[str, Any] = json.loads(self._run("inspect", "--type", "image", tag))
        return found

    def unpack(self, tag: str) -> Path:
        """The image as a bundle that runc can run: config.json and rootfs."""
        layout, bundle = self.directory / "layout", self.directory / f"bundle-{tag}"
        self._run("push", "--quiet", "--disable-compression", tag, f"oci:{layout}:{tag}")
        command = [program("umoci"), "unpack", "--image", f"{layout}:{tag}", str(bundle)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ImageError(f"umoci could not unpack the image: {done.stderr.strip()[-500:]}")
        return bundle


def differences(first: Path, second: Path) -> list[str]:
    """Lines of `diff` for each file that two bundles do not have in common."""
    command = [program("diff"), "-rq", "--no-dereference", str(first / "rootfs"), str(second / "rootfs")]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
