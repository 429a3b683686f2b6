"""Files of notebooks: read one, write all of it or nothing."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import stat

from .. import errors
from .form import Notebook, fault


def read(path: str) -> Notebook:
    """The notebook in a file.

    Raises `Unreadable` where there is no such file, `SettingsError` where it is no notebook of
    format 4 whose cells can be run.
    """
    try:
        with open(path, encoding="utf-8") as file:
            notebook = json.load(file)
    except OSError as error:
        raise errors.Unreadable(path=path, reason=error.strerror) from None
    except (ValueError, RecursionError):
        notebook = None
    if not isinstance(notebook, dict) or notebook.get("nbformat") != 4:
        raise errors.SettingsError(text=f"{path} is not a notebook of format 4.")
    wrong = fault(notebook)
    if wrong:
        raise errors.SettingsError(text=f"{path} is not a valid notebook: {wrong}.")
    return notebook


def copy_name(path: str) -> str:
    """A name beside the notebook's that nothing has yet."""
    stem = path.removesuffix(".ipynb")
    number = 1
    while os.path.exists(copy := f"{stem}.before-collect-{number}.ipynb"):
        number += 1
    return copy


def write(path: str, notebook: Notebook) -> None:
    """Write a notebook: readers see the file as it was, or the new one. Raises OSError."""
    path = os.path.realpath(path)  # a link stays one
    temporary = os.path.join(os.path.dirname(path), f".sshpyk-{secrets.token_hex(8)}.ipynb")
    try:
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
        with open(os.open(temporary, flags, 0o666), "w", encoding="utf-8") as file:
            json.dump(notebook, file, indent=1, ensure_ascii=False)
            file.write("\n")
        if os.path.exists(path):
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def check_writable(path: str) -> None:
    """Find out before a long run that its notebook could not be written. Raises `Unwritable`."""
    directory = os.path.dirname(os.path.realpath(path))
    if not os.path.isdir(directory):
        raise errors.Unwritable(path=path, reason="its directory is not there")
    if not os.access(directory, os.W_OK):
        raise errors.Unwritable(path=path, reason="its directory can't be written")
    if os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode):
        raise errors.Unwritable(path=path, reason="it is no file")
