"""The cgroups of a test's Slurm: apart from those of others, whose jobs have the same names."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

#: What Slurm follows the processes of a job by, and limits their memory by, of version 1; and a
#: file that says that a cgroup has this controller.
CONTROLLERS = {"freezer": "freezer.state", "memory": "memory.limit_in_bytes"}

ROOT = Path("/sys/fs/cgroup")


class JobGroups:
    """Cgroups called `name`, and a directory that shows them alone to Slurm as if they were all.

    `are_there` says whether they could be made: only root makes any, and not in every container.
    """

    def __init__(self, name: str, directory: Path) -> None:
        self.directory = directory
        self._groups = {controller: ROOT / controller / name for controller in CONTROLLERS}
        directory.mkdir()
        try:
            for controller, group in self._groups.items():
                group.mkdir()
                (directory / controller).symlink_to(group)
        except OSError:
            self.are_there = False
        else:
            files = (group / CONTROLLERS[name] for name, group in self._groups.items())
            self.are_there = all(file.exists() for file in files)
        if not self.are_there:
            self.close()

    @property
    def config(self) -> str:
        """The text of Slurm's cgroup.conf."""
        return (
            f"CgroupPlugin=cgroup/v1\nCgroupMountpoint={self.directory}\nCgroupAutomount=no\n"
            "ConstrainRAMSpace=yes\n"
        )

    def close(self) -> None:
        """Remove them; no process may be in one."""
        for group in self._groups.values():
            for path, _, _ in os.walk(group, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(path)
