"""Messages → outputs: the same as nbclient makes of them, from a real kernel's messages."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from sshpyk.errors import SettingsError
from sshpyk.notebook import files
from sshpyk.notebook.outputs import Filler

CELLS = (
    "import sys\nfor i in range(3):\n    print(i); print(-i, file=sys.stderr)",
    "from IPython.display import display, clear_output, HTML\n"
    "handle = display(HTML('<b>1</b>'), display_id='d')\ndisplay(1, metadata={'a': 1})",
    "handle.update(HTML('<b>2</b>'))\ndisplay('again', display_id='d')\n40 + 2",
    "print('gone')\nclear_output()\nprint('stays')",
    "print('stays too')\nclear_output(wait=True)",
    "print('gone')\nclear_output(wait=True)\nprint('new')\n'result'",
    "1/0",
)


EMPTY: dict[str, Any] = {"metadata": {}, "outputs": [], "execution_count": None}


class Recording(NotebookClient):
    """nbclient, and what it was told."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.messages: list[tuple[int, dict[str, Any]]] = []

    def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
        # Through JSON, as they reach us; before nbclient, which changes them.
        self.messages.append((cell_index, json.loads(json.dumps(msg, default=str))))
        return super().process_message(msg, cell, cell_index)


def test_outputs_are_those_of_nbclient(tmp_path: Path) -> None:
    cells = [{"cell_type": "code", "source": text, **EMPTY} for text in CELLS]
    from_dict: Any = nbformat.from_dict  # it has no types
    notebook = from_dict({"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": cells})
    ours: dict[str, Any] = json.loads(json.dumps(notebook))
    client = Recording(notebook, kernel_name="python3", allow_errors=True, record_timing=False)
    client.execute()
    filler = Filler()
    for index, message in client.messages:
        request = message["parent_header"]["msg_id"]
        if message["msg_type"] == "execute_input":
            filler.begin(request, ours["cells"][index])
        filler.take(request, message["msg_type"], message["content"])
    theirs = json.loads(json.dumps(notebook))
    assert [cell["outputs"] for cell in ours["cells"]] == [c["outputs"] for c in theirs["cells"]]
    assert [c["execution_count"] for c in ours["cells"]] == list(range(1, len(CELLS) + 1))
    path = str(tmp_path / "done.ipynb")
    files.write(path, ours)
    nbformat.validate(files.read(path))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"nbformat": 3}, "not a notebook of format 4"),
        ({"cells": 1}, "its cells are no list"),
        ({"cells": [{"cell_type": "sound", "source": ""}]}, "cell 1 has no cell_type"),
        ({"cells": [{"cell_type": "code"}]}, "cell 1 has no text"),
        ({"cells": [{"cell_type": "code", "source": "", "outputs": 1}]}, "the outputs of cell 1"),
        ({"metadata": []}, "its metadata are no object"),
    ],
)
def test_what_is_no_notebook(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [], **change}
    path = tmp_path / "bad.ipynb"
    path.write_text(json.dumps(notebook))
    with pytest.raises(SettingsError) as raised:
        files.read(str(path))
    assert said in raised.value.what
    for text in ("", "[1, 2", "[" * 100_000):
        path.write_text(text)
        with pytest.raises(SettingsError) as raised:
            files.read(str(path))
        assert "not a notebook of format 4" in raised.value.what


def test_a_write_is_whole_or_nothing(tmp_path: Path) -> None:
    """The mode of a file that was there stays, a link stays one, and nothing is left beside it."""
    target, link = tmp_path / "target.ipynb", tmp_path / "link.ipynb"
    target.write_text("{}")
    target.chmod(0o640)
    link.symlink_to(target.name)
    notebook: dict[str, Any] = {"nbformat": 4, "metadata": {}, "cells": []}
    files.write(str(link), notebook)
    assert link.is_symlink()
    assert json.loads(target.read_text()) == notebook
    assert target.stat().st_mode & 0o777 == 0o640
    broken = copy.deepcopy(notebook)
    broken["cells"] = [{1, 2}]  # no JSON
    with pytest.raises(TypeError):
        files.write(str(link), broken)
    assert json.loads(target.read_text()) == notebook
    assert sorted(os.listdir(tmp_path)) == ["link.ipynb", "target.ipynb"]
