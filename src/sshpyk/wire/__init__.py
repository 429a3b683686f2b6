"""The resumable streams: pure code that runs on both ends.

Nothing here opens a socket, reads a clock or starts a process; time is always an argument. The
agent carries these very files to the host, so they run on Python 3.8 and import little.
"""
