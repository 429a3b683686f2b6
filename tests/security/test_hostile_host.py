"""A host that answers wrongly: every start ends with a clear error, in bounded time and memory.

`remote_python` is a program of ours that speaks in the agent's place.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager

from sshpyk import errors
from sshpyk.cli import logs, missed, wait_for
from sshpyk.cli.place import Place
from sshpyk.link import link
from sshpyk.ssh.command import Destination
from sshpyk.transport import answers
from sshpyk.transport.openssh import OpenSSH
from tests.lab.kernels import write_spec
from tests.lab.sshd import Sshd

pytestmark = pytest.mark.sshd

#: Seconds that a start may take in these tests; and what is allowed beyond it to take it back.
LAUNCH_TIMEOUT = 3
GRACE = 12.0

#: Bytes by which this process may grow: what is kept of noise and answers, several times over.
MOST_GROWTH = 100 * 1024 * 1024


@pytest.fixture(scope="module", autouse=True)
def own_runtime(open_directory: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(open_directory))
        patch.setattr(link, "END_WITHIN", 1.0)  # for an agent that will not hear of it
        yield


class Hostile:
    """A host on which `remote_python` is `code`."""

    def __init__(self, server: Sshd, directory: Path) -> None:
        self.server = server
        self.path = directory / "python3"

    def write(self, code: str) -> None:
        """Have `code` speak in the agent's place."""
        # What a false agent leaves goes with the module's directory.
        code = code.replace('dir="/tmp"', f"dir={os.environ['XDG_RUNTIME_DIR']!r}")
        self.path.write_text(f"#!{sys.executable} -I\nimport json, os, socket, sys, time\n{code}")
        self.path.chmod(0o700)

    def start(self, code: str, kind: type[errors.SshpykError] = errors.SshpykError) -> str:
        """Start a kernel there; what the user reads of the error, one of `kind`."""
        self.write(code)
        write_spec(
            "hostile",
            self.server,
            remote_python=str(self.path),
            launch_timeout=LAUNCH_TIMEOUT,
        )
        manager = KernelManager(kernel_name="hostile")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        begun = time.monotonic()
        with pytest.raises(kind) as caught:
            manager.start_kernel()
        assert time.monotonic() - begun < LAUNCH_TIMEOUT + GRACE
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown * 1024 < MOST_GROWTH
        text = str(caught.value)
        assert len(text) < 20_000
        assert not set(text) & {"\x1b", "\x07", "\x00", "\x9b"}, "what a terminal would obey"
        return text


@pytest.fixture
def hostile(sshd: Sshd, tmp_path: Path) -> Hostile:
    return Hostile(sshd, tmp_path)


NOISE: dict[str, str] = {
    "endless lines": "while True: sys.stdout.write('spam\\n' * 1000)",
    "an endless line": "while True: sys.stdout.write('spam' * 1000)",
    "endless zeros": "while True: os.write(1, bytes(65536))",
    "endless stderr": "while True: os.write(2, b'spam' * 10000)",
    "both": "while True: os.write(1, b'out\\n' * 1000); os.write(2, b'err\\n' * 1000)",
    "silence": "time.sleep(600)",
    "silence that reads": "sys.stdin.buffer.read(); time.sleep(600)",
    "a goodbye at once": "pass",
    "an early end of stdin": "os.close(0); time.sleep(1); sys.exit(5)",
    "a signal": "os.kill(os.getpid(), 9)",
    "escape sequences": "print('\\x1b]0;owned\\x07\\x1b[2J\\x9b5n', file=sys.stderr); sys.exit(1)",
    "much noise, then the end": "os.write(1, b'x' * 3_000_000); sys.exit(1)",
    "bytes that are no text": "os.write(1, bytes(range(128, 256)) * 100); sys.exit(1)",
}


@pytest.mark.parametrize("name", NOISE)
def test_noise_instead_of_an_answer(hostile: Hostile, name: str) -> None:
    assert "sshd" in hostile.start(NOISE[name])


MAGIC: dict[str, tuple[str, str]] = {
    "no JSON": ("hello", "as expected"),
    "a list": ("[]", "as expected"),
    "deep JSON": ("[" * 100_000, "as expected"),
    "nothing in it": ("{}", "no agent"),
    "an error of no kind": ('{"error": 5}', "defect"),
    "an error without its fields": ('{"error": "not-writable"}', "defect"),
    "an error about another host": (
        '{"error": "no-directory", "host": "elsewhere", "path": "/x"}',
        "sshd: /x is not",
    ),
    "an error with templates": (
        '{"error": "no-directory", "path": "{host.__class__} {0} {"}',
        "{host.__class__} {0} {",
    ),
    "an error with escapes": ('{"error": "no-directory", "path": "\\u001b[2Jx"}', "sshd: x is not"),
    "a huge error": (json.dumps({"error": "no-directory", "path": "x" * 1_000_000}), "xxx"),
    "a huge traceback": (json.dumps({"error": "bug", "traceback": "x" * 1_000_000}), "defect"),
}


@pytest.mark.parametrize("name", MAGIC)
def test_answers_that_are_none(hostile: Hostile, name: str) -> None:
    answer, said = MAGIC[name]
    Path(str(hostile.path) + ".txt").write_text(answer)
    text = hostile.start(
        f"print(); print('SSHPYK2 ' + open({str(hostile.path) + '.txt'!r}).read()); time.sleep(1)",
        errors.RemoteError,
    )
    assert said in text


def test_an_answer_without_end(hostile: Hostile) -> None:
    hostile.start("os.write(1, b'\\nSSHPYK2 {')\nwhile True: os.write(1, b' ' * 65536)")


LOGS: dict[str, tuple[str, type[errors.SshpykError]]] = {
    "answers without end": (
        "piece = json.dumps({'file': 'outputs.jsonl', 'data': '{' + ' ' * 65536})\n"
        "while True: os.write(1, b'\\nSSHPYK2 ' + piece.encode() + b'\\n')",
        errors.TooMuchOutput,
    ),
    "lines of noise between answers, then without end": (
        "answer = b'\\nSSHPYK2 ' + json.dumps({'file': 'x', 'data': ''}).encode() + b'\\n'\n"
        "for _ in range(20): os.write(1, answer + b'noise\\n' * 100_000)\n"
        "while True: os.write(1, b'noise\\n' * 10_000)",
        errors.StrangeAnswer,
    ),
    "text that is no bytes": (
        "answer = json.dumps({'file': 'outputs.jsonl', 'data': '\u2026'}).encode()\n"
        "os.write(1, b'\\nSSHPYK2 ' + answer + b'\\n')",
        errors.StrangeAnswer,
    ),
}


@pytest.mark.parametrize("name", LOGS)
def test_the_output_of_a_kernel_is_bounded(
    hostile: Hostile, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, kind = LOGS[name]
    monkeypatch.setattr(missed, "LONGEST_LINE", 4 * 1024 * 1024)
    hostile.write(code)
    place = Place(Destination("sshd", ssh_config=str(hostile.server.ssh_config)), str(hostile.path))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(kind):
        wait_for(logs.outputs(place, "0" * 32))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * 1024 < MOST_GROWTH


# -- a false agent, which listens and speaks -------------------------------------------------------

#: A host's side that answers a launch and takes carriers: each control carrier, which may be the
#: session itself, gets `SAY`, which is evaluated with the hello and the request at hand.
FALSE_AGENT = """
import hashlib, shutil, struct, tempfile, zlib
size = int(sys.stdin.buffer.readline())
sys.stdin.buffer.read(size)
request = json.loads(sys.stdin.buffer.readline())
sys.stdin.buffer.readline()
sys.stdin.buffer.read(int(sys.stdin.buffer.readline()))
directory = tempfile.mkdtemp(prefix="false-", dir="/tmp")
import atexit; atexit.register(shutil.rmtree, directory)
listening, listeners = {}, []
for channel in ("shell", "iopub", "stdin", "control", "hb", "agent"):
    listener = socket.socket(socket.AF_UNIX)
    listening[channel] = os.path.join(directory, channel)
    listener.bind(listening[channel]); listener.listen(); listeners.append(listener)
kernel = dict(pid=1, bound=False, exited=None, name="x", display_name="x", language="x",
              interrupt_mode="signal", cwd="/", home="/", curve=False)
answer = dict(listening=listening, host="node", boot_id="boot", bytecode="", kernel=kernel)
CHANGE
os.write(1, b"\\nSSHPYK2 " + json.dumps(answer).encode() + b"\\n")
def frame(type, stream=0, position=0, payload=b"", length=None):
    size = len(payload) if length is None else length
    return struct.pack(">BIQI", type, stream, position, size) + payload
def welcome():
    key = request["token"].encode()
    proof = hashlib.blake2b(hello["nonce"].encode(), digest_size=32, key=key).digest()
    return frame(2, payload=proof)
def say(text): return frame(5, 0, 0, text.encode() + b"\\n")
import select
if request["carrier"]:
    ahead = zlib.decompress(bytes.fromhex(request["carrier"]))
    hello = json.loads(ahead[17:17 + struct.unpack(">BIQI", ahead[:17])[3]])
    try:
        for piece in SAY:
            line = json.dumps(dict(carried=piece.hex())).encode()
            sys.stdout.buffer.write(b"\\nSSHPYK2 " + line + b"\\n")
        sys.stdout.buffer.flush()
    except OSError:
        os._exit(1)
    while select.select([0], [], [], 10)[0] and os.read(0, 65536):
        pass
    sys.exit()
if listeners[-1] not in select.select([listeners[-1], 0], [], [], 10)[0]:
    sys.exit()  # the client has heard enough
connection, _ = listeners[-1].accept()
head = connection.recv(17, socket.MSG_WAITALL)
hello = json.loads(connection.recv(struct.unpack(">BIQI", head)[3], socket.MSG_WAITALL))
try:
    for piece in SAY:
        connection.sendall(piece)
except OSError:
    pass
sys.stdin.readline()
os.write(1, b'\\nSSHPYK2 {"attached": true}\\n')
for fd in (0, 1, 2):
    os.close(fd)
if os.fork():
    os._exit(0)
connection.settimeout(10)
try:
    while connection.recv(65536):
        pass
except OSError:
    pass
"""


def false_agent(say: str = "[welcome()]", change: str = "") -> str:
    return FALSE_AGENT.replace("CHANGE", change).replace("SAY", say)


LIES: dict[str, str] = {
    "data beyond the window": "[welcome(), frame(5, 0, 1 << 40, b'x')]",
    "data at the last position": "[welcome(), frame(5, 0, 2**64 - 1, b'x')]",
    "an acknowledgement of what was never sent": "[welcome(), frame(6, 0, 10**9)]",
    "a frame of endless length": "[welcome(), frame(5, 0, 0, b'', 2**32 - 1)]",
    "an impossible type": "[welcome(), frame(77)]",
    "a hello": "[welcome(), frame(1, payload=b'{}')]",
    "a stream that it opens": "[welcome(), frame(4, 9, 0, b'shell')]",
    "a close that goes back": "[welcome(), say('x'), frame(7, 0, 0)]",
    "a close twice": "[welcome(), frame(7, 0, 5), frame(7, 0, 9)]",
    "a message that is no JSON": "[welcome(), say('hello')]",
    "a deep message": "[welcome(), say('[' * 100000)]",
    "a message of no type": "[welcome(), say('{}')]",
    "a message with a wrong field": '[welcome(), say(\'{"type": "bound", "pid": "x"}\')]',
    "an exit of a wrong kind": '[welcome(), say(\'{"type": "exited", "pid": 1}\')]',
    "endless pings": "[welcome()] + [frame(9, 0, n) for n in range(300000)]",
    "pieces behind a gap": "[welcome()] + [frame(5, 0, 100 + n, b'x') for n in range(200000)]",
    "a message without end": "[welcome()] + [frame(5, 0, n << 17, b'x' * (1 << 17)) "
    "for n in range(64)]",
    "unknown streams": "[welcome()] + [frame(5, n, 0, b'x') for n in range(1, 100000)]",
    "nothing after the welcome": "[welcome()]",
    "no welcome": "[]",
    "a false proof": "[frame(2, payload=bytes(32))]",
    "a refusal": "[frame(3, payload=b'\\x1b[2Jgo away')]",
    "a long refusal": "[frame(3, payload=b'x' * 5000)]",
}


@pytest.fixture(params=["forwards", "session"])
def carried_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the first carrier is: a forward, or the session of the launch, as where forwards have
    led to agents lately."""
    monkeypatch.setattr(OpenSSH, "knows_way", request.param == "session")


@pytest.mark.usefixtures("carried_by")
@pytest.mark.parametrize("name", LIES)
def test_an_agent_that_lies(hostile: Hostile, name: str) -> None:
    hostile.start(false_agent(LIES[name]), errors.SshpykError)


ANSWERS: dict[str, str] = {
    "it listens nowhere": "answer['listening'] = {}",
    "it listens at a text": "answer['listening'] = 'here'",
    "it listens elsewhere": "listening['shell'] = 'internal.host:22'",
    "it listens at two places": "listening['shell'] = '/a:/b'",
    "it listens at an option": "listening['shell'] = '-oProxyCommand=x'",
    "it listens at a number that is no port": "listening['shell'] = 10**6",
    "it listens at true": "listening['shell'] = True",
    "its machine is an option": "answer['host'] = '-oProxyCommand=touch x'",
    "its machine is a command": "answer['host'] = '$(touch x)'",
    "its machine is a number": "answer['host'] = 5",
    "no boot": "answer['boot_id'] = None",
    "no bytecode": "answer['bytecode'] = 3",
    "no kernel": "answer['kernel'] = None",
    "a kernel without a pid": "del kernel['pid']",
    "a kernel in no directory": "kernel['cwd'] = 5",
    "a kernel with an endless home": "kernel['home'] = '/' * 10000",
    "an exit of a wrong kind": "kernel['exited'] = {'code': 'x'}",
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_that_lies(hostile: Hostile, name: str) -> None:
    text = hostile.start(false_agent(change=ANSWERS[name]), errors.StrangeAgent)
    assert text.startswith("What answers on sshd is no agent of sshpyk: ")


@pytest.mark.usefixtures("carried_by")
def test_the_false_agent_is_believed_when_it_does_not_lie(hostile: Hostile) -> None:
    """So the tests above are about the lies."""
    said = '{"type": "exited", "pid": 1, "code": 3, "signum": null, "stderr": "", "note": ""}'
    text = hostile.start(false_agent(f"[welcome(), say({said!r})]"), errors.KernelDied)
    assert "exit status 3" in text


PROBES: list[dict[str, Any]] = [
    {},
    {"host": "node", "boot_id": "x", "alive": "yes"},
    {"host": "node", "boot_id": "x", "alive": True, "record": []},
    {"host": "node", "boot_id": "x", "alive": False, "ended": []},
    {"host": "node", "boot_id": "x", "alive": False, "ended": {"at": 1e300, "why": "x"}},
    {"host": "node", "boot_id": "x", "alive": False, "ended": {"at": "now", "why": "x"}},
    {"host": "node", "boot_id": "x", "ended": {"at": 0, "why": "x", "exited": {"code": []}}},
    {"host": "a b", "boot_id": "x", "alive": False, "ended": None},
]


@pytest.mark.parametrize("answer", PROBES)
def test_what_a_host_says_of_its_agents_is_looked_at(answer: dict[str, Any]) -> None:
    with pytest.raises(errors.StrangeAgent):
        answers.check("host", "probe", answer)
