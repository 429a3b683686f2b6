"""The cgroups of a test's Slurm: apart from those of others, whose jobs have the same names."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

#: What Slurm follows the processes of a job by, and limits their memory by; of version 1.
CONTROLLERS = ("freezer", "memory")

#: The file that says that a cgroup has the controller.
_OF = {"freezer": "freezer.state", "memory": "memory.limit_in_bytes"}

ROOT = Path("/sys/fs/cgroup")


class JobGroups:
    """Cgroups called `name`, and a directory that shows them alone to Slurm as if they were all.

    `are_there` says whether they could be made: only root makes any, and not in every container.
    """

    def __init__(self, name: str, directory: Path) -> None:
        self.directory = directory
        self._groups = [ROOT / controller / name for controller in CONTROLLERS]
        directory.mkdir()
        try:
            for controller, group in zip(CONTROLLERS, self._groups):
                group.mkdir()
                (directory / controller).symlink_to(group)
            self.are_there = all(
                (group / _OF[controller]).exists()
                for controller, group in zip(CONTROLLERS, self._groups)
            )
        except OSError:
            self.are_there = False
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
        for group in self._groups:
            for path, _, _ in os.walk(group, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(path)
