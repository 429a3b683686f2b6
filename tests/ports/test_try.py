import asyncio, time, urllib.request, threading, logging, os, sys
from pathlib import Path
import pytest
from tests.lab.kernels import *
from sshpyk.link.thread import io_thread
from sshpyk.wire.ports import Target

SERVE = """
import threading, http.server, os
class H(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        n = int(self.path[1:] or 10)
        self.send_response(200); self.send_header("Content-Length", str(n)); self.end_headers()
        b = os.urandom(1<<20)
        while n > 0:
            self.wfile.write(b[:n]); n -= len(b)
    def log_message(self, *a): pass
s = http.server.ThreadingHTTPServer(("127.0.0.1", 0), H)
threading.Thread(target=s.serve_forever, daemon=True).start()
print(s.server_address[1])
"""

def test_it(sandbox):
    write_spec("remote", sandbox)
    with started("remote") as (m, c):
        port = int(run_code(c, SERVE))
        link = link_of(m)
        async def op():
            return link.open_port(Target(port), None)
        lp = io_thread().submit(op()).result()
        print(lp.status)
        assert len(urllib.request.urlopen(f"http://127.0.0.1:{lp.local}/10", timeout=20).read()) == 10
        t=time.time()
        n = 200_000_000
        assert len(urllib.request.urlopen(f"http://127.0.0.1:{lp.local}/{n}", timeout=60).read()) == n
        print("MB/s", n/1e6/(time.time()-t))
