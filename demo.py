"""sshpyk in one minute: a kernel on another machine, and everything that could go wrong with it.

    python demo.py          # on a throwaway SSH server on this machine; nothing else is needed
    python demo.py HOST     # on a host of yours, anything that `ssh HOST` accepts

It exits with 0 only when each step held. It is the command `sshpyk demo`, for those who have a
clone of the project before them; the code is in src/sshpyk/demo.
"""

import sys

from sshpyk.cli import main

sys.exit(main(["demo", *sys.argv[1:]]))
