"""Seconds to the first reply of a kernel, in whatever environment this file is run by.

    PYTHON first_reply.py KERNEL [--argv] [--runs N]

It needs nothing but jupyter_client, so that other versions of sshpyk can be measured by it. With
`--argv` it does as VS Code: runs the command of kernel.json with a connection file that it has
written, and knows nothing of provisioners. Prints a line of JSON: the seconds of each run.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import subprocess
import tempfile
import time

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.connect import write_connection_file
from jupyter_client.kernelspec import get_kernel_spec
from jupyter_client.manager import KernelManager

PATIENCE = 120.0  # seconds


def by_manager(name: str) -> float:
    """As nbclient or Jupyter Server start it."""
    manager = KernelManager(kernel_name=name)
    begun = time.perf_counter()
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    client.kernel_info(reply=True, timeout=PATIENCE)
    taken = time.perf_counter() - begun
    client.stop_channels()
    manager.shutdown_kernel(now=True)
    manager.context.destroy(linger=100)
    return taken


def by_argv(name: str) -> float:
    """As VS Code starts it."""
    with tempfile.TemporaryDirectory() as directory:
        file, _ = write_connection_file(
            os.path.join(directory, "kernel.json"), key=secrets.token_hex(32).encode()
        )
        words = [word.replace("{connection_file}", file) for word in get_kernel_spec(name).argv]
        begun = time.perf_counter()
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL)
        client = BlockingKernelClient(connection_file=file)
        client.load_connection_file()
        client.start_channels(shell=True, iopub=False, stdin=False, hb=False, control=False)
        client.kernel_info(reply=True, timeout=PATIENCE)
        taken = time.perf_counter() - begun
        client.stop_channels()
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
        return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kernel")
    parser.add_argument("--argv", action="store_true", help="start it as VS Code does")
    parser.add_argument("--runs", type=int, default=1)
    options = parser.parse_args()
    measure = by_argv if options.argv else by_manager
    print(json.dumps([measure(options.kernel) for _ in range(options.runs)]))


if __name__ == "__main__":
    main()
