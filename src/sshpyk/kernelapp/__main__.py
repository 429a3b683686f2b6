"""`python -m sshpyk.kernelapp`, the way that kernel.json has it."""

import sys

from . import main

sys.exit(main())
