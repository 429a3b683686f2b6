"""What the declarations of settings have in common."""

from __future__ import annotations

import os
import re
from typing import Any

from traitlets import TraitError

#: The environment variable SSHPYK_NAME is the default of the setting NAME, for kernelspecs that
#: are not ours (JUPYTER_DEFAULT_PROVISIONER_NAME=sshpyk-provisioner).
PREFIX = "SSHPYK_"


def from_environment(name: str) -> str | None:
    """The default that the environment has for the setting `name`."""
    return os.environ.get(PREFIX + name.upper()) or None


def plain_text(proposal: dict[str, Any]) -> str | None:
    """The proposed value, which is to be a path or a name. Raises TraitError where it is none."""
    name, value = proposal["trait"].name, proposal["value"]
    if value and re.search(r"[\x00-\x1f\x7f]", value):
        raise TraitError(f"{name} is {value!r:.100}: no path or name has control characters.")
    if value and value.startswith("-"):
        raise TraitError(f"{name} is {value!r:.100}: it must not look like an option.")
    text: str | None = value
    return text
