"""What runs on the host: one agent beside each kernel, on Python 3.8 and the standard library.

These files are sent over ssh's stdin at each launch (see `boot`), so nothing is installed on the
host and no version can drift. They import little: what is imported here costs every launch time
and every kernel memory, so there is no asyncio, logging, dataclasses, pathlib or subprocess.
"""
