"""An image's container under runc: read-only, without any capability, as any user, with the machine's network."""

import json
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.processes import HOST, Server, free_port, http_answers, program

__all__ = ["container", "run_in", "takes"]

_NO_CAPABILITIES: dict[str, list[str]] = {
    name: [] for name in ("bounding", "effective", "inheritable", "permitted", "ambient")
}


def _specification(bundle: Path, user: tuple[int, int], environ: dict[str, str], *, tmp: bool) -> dict[str, Any]:
    """What umoci wrote for the image, as Kubernetes would run it."""
    found: dict[str, Any] = json.loads((bundle / "config.json").read_text())
    process = found["process"]
    process |= {"terminal": False, "noNewPrivileges": True, "capabilities": _NO_CAPABILITIES}
    process["user"] = {"uid": user[0], "gid": user[1]}
    process["env"] += [f"{name}={value}" for name, value in environ.items()]
    found["root"] = {"path": str(bundle / "rootfs"), "readonly": True}
    found["mounts"] = [mount for mount in found["mounts"] if mount["destination"] != "/sys/fs/cgroup"]
    hosts = {"destination": "/etc/hosts", "type": "bind", "source": "/etc/hosts", "options": ["bind", "ro"]}
    found["mounts"].append(hosts)
    if tmp:
        options = ["nosuid", "nodev", "mode=1777", "size=64m"]
        found["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": options})
    found["linux"]["namespaces"] = [each for each in found["linux"]["namespaces"] if each["type"] != "network"]
    return found


def _is_ready(server: Server) -> bool:
    return http_answers(server, path="/health/ready", status=200)


@contextmanager
def container(
    bundle: Path,
    user: tuple[int, int],
    environ: dict[str, str] | None = None,
    *,
    tmp: bool = True,
    ready: Callable[[Server], bool] = _is_ready,
) -> Iterator[Server]:
    """A container of the unpacked image at `bundle`, not yet started; `runc run` hands signals on to it."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="oo-container-") as name:
        directory = Path(name)
        here = {"PORT": str(port)}
        specification = _specification(bundle, user, here | (environ or {}), tmp=tmp)
        (directory / "config.json").write_text(json.dumps(specification))
        server = Server(
            [program("runc"), "run", "--bundle", directory, directory.name],
            port=port,
            url=f"http://{HOST}:{port}",
            directory=directory,
            ready=ready,
        )
        try:
            yield server
        finally:
            server.kill()
            subprocess.run([program("runc"), "delete", "--force", directory.name], capture_output=True, check=False)


def takes(server: Server, number: signal.Signals) -> bool:
    """Whether the first process of the container handles a signal: the kernel drops what it does not."""
    command = [program("runc"), "state", server.directory.name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not (pid := json.loads(done.stdout)["pid"]):
        return False
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(caught & 1 << (number - 1))


def run_in(server: Server, words: list[str]) -> int:
    """The exit code of a command in a running container, as a health check is run."""
    command = [program("runc"), "exec", server.directory.name, *words]
    return subprocess.run(command, capture_output=True, check=False).returncode
