"""The demo as a whole: a kernel is started, disturbed, left, found again, and ended."""

from __future__ import annotations

import logging
import os
import tempfile
import time

from jupyter_client.manager import KernelManager
from traitlets.config import Config

from ..jupyter.provisioner import SSHKernelProvisioner
from . import acts
from .narrator import Broken, Narrator
from .place import Place


def perform(narrator: Narrator, place: Place) -> bool:
    """Show it at `place`; whether everything held. Raises `SshpykError`.

    Nothing of it stays on either machine.
    """
    # What fails is told once, by the narrator; jupyter_client would show where in its code as well.
    logging.getLogger("traitlets").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="sshpyk-demo-") as directory:
        os.environ["JUPYTER_PATH"] = directory
        os.environ["JUPYTER_RUNTIME_DIR"] = os.path.join(directory, "runtime")
        place.write_kernelspec(directory)
        try:
            _perform(narrator, place, directory)
        except Broken as broken:
            narrator.end(broken)
            return False
        finally:
            # A kernel does not end the connection, so that the next one starts at once.
            place.end_connection()
    narrator.end()
    return True


def _perform(narrator: Narrator, place: Place, directory: str) -> None:
    file = os.path.join(directory, "left.json")
    count = _first_part(narrator, place, file)

    narrator.step("Coming back")
    config = Config()
    config.SSHKernelProvisioner.existing = file
    manager = KernelManager(kernel_name="demo", config=config)
    manager.start_kernel()
    try:
        with acts.connected(manager) as client:
            acts.find_job(narrator, client, count)
        record = acts.traces(manager)
        narrator.step("Shutting down")
    finally:
        manager.shutdown_kernel()
    narrator.held("shut down", not manager.has_kernel)
    acts.nothing_left(narrator, place, record, os.environ["JUPYTER_RUNTIME_DIR"])


def _first_part(narrator: Narrator, place: Place, file: str) -> int:
    """Up to where the kernel is left, to be found by the persistence file `file`."""
    narrator.step("Starting a kernel on the host")
    begun = time.monotonic()
    config = Config()
    config.SSHKernelProvisioner.persistent = True
    config.SSHKernelProvisioner.persistent_file = file
    manager = KernelManager(kernel_name="demo", config=config)
    manager.start_kernel()
    try:
        with acts.connected(manager) as client:
            narrator.held(f"ready after {time.monotonic() - begun:.1f} s", True)
            where = "import os, sys, socket; print(os.getpid(), 'on', socket.gethostname())"
            narrator.show(f"kernel process {acts.run(client, where).strip()}")
            way = acts.run(client, "print(os.environ.get('SSH_CONNECTION', ''))").strip()
            narrator.show(f"started over an ssh connection ({way or 'the sandbox names none'})")
            acts.break_connection(narrator, place, manager, client)
            acts.interrupt(narrator, manager, client)
            acts.restart(narrator, manager, client)
            count = acts.begin_job(narrator, client)
    except BaseException:
        assert isinstance(manager.provisioner, SSHKernelProvisioner)
        manager.provisioner.persistent = False  # what broke leaves nothing on the host
        raise
    finally:
        begun = time.monotonic()
        manager.shutdown_kernel()
    took = time.monotonic() - begun
    narrator.held(f"left in {took:.1f} s; nothing of it runs here any more", not manager.has_kernel)
    return count
