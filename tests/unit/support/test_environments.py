"""What a run installs for itself."""

import subprocess
from pathlib import Path

import pytest

from tests.support import environments


def test_a_folder_is_filled_once_for_each_content_of_its_lock_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another content, and a command that failed, make it run again."""
    monkeypatch.setattr(environments, "ROOT", tmp_path)
    folder, lock = tmp_path / ".cache" / "things", tmp_path / "lock"
    fill = ["sh", "-c", f"mkdir -p {folder} && echo filled >> {folder}/times"]
    for content, times in (("one", 1), ("one", 1), ("two", 2)):
        lock.write_text(content)
        environments.install(folder, lock, fill)
        assert (folder / "times").read_text() == times * "filled\n"
    lock.write_text("three")
    with pytest.raises(subprocess.CalledProcessError):
        environments.install(folder, lock, fill, ["false"])
    environments.install(folder, lock, fill)
    assert (folder / "times").read_text() == 4 * "filled\n"


def test_programs_of_an_environment_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command finds those in `path` before all others."""
    monkeypatch.setattr(environments, "ROOT", tmp_path)
    lock, folder, programs = tmp_path / "lock", tmp_path / "things", tmp_path / "bin"
    lock.write_text("one")
    programs.mkdir()
    (programs / "npm").write_text(f"#!/bin/sh\nmkdir {folder} && echo mine > {folder}/said\n")
    (programs / "npm").chmod(0o755)
    environments.install(folder, lock, ["npm"], path=programs)
    assert (folder / "said").read_text() == "mine\n"
