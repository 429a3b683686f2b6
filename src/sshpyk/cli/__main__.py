"""`python -m sshpyk.cli`: the command `sshpyk` of this very Python."""

import sys

from . import main

sys.exit(main())
