"""`sshpyk-kernel`: one SSH kernel in a terminal, or as the command of a kernelspec.

The command in our kernel.json runs this for programs that know no provisioners (VS Code, Zed,
emacs-jupyter): there it serves the ports and the key of the connection file that it is given.
"""

from __future__ import annotations


def main(argv: list[str] | None = None) -> int:
    """Run until the kernel has ended or was left; the exit status (`argv`: without the program)."""
    from .app import run

    return run(argv)
