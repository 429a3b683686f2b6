"""What can go wrong with a Jupyter Server; `sshpyk.errors` has what all of it has in common.

`host` is the server as people call it, `url` its address, `connect` the command that logs in,
`details` what the server itself said.
"""

from __future__ import annotations

from ..errors import (
    ConnectionRefused,
    HostError,
    KernelDied,
    KernelGone,
    LaunchTimeout,
    NeedsPerson,
    NoKernelspec,
    NotLetIn,
    RemoteError,
    SettingsError,
    StrangeAnswer,
    UnknownHost,
    Unreachable,
)


class ServerUnknown(UnknownHost):
    next_step = "Check the name in its URL, the network, or a VPN."
    next_command = ""


class ServerRefused(ConnectionRefused):
    next_step = "Nothing listens there: check the port, and that the server runs."
    next_command = ""


class ServerSilent(Unreachable):
    next_step = "Check the network, a VPN, or the server itself. Kernels wait for it."
    next_command = ""


class ServerBroke(ServerSilent):
    """The connection ended before an answer had come, as proxies cut one now and then."""


class ServerAway(HostError):
    """A proxy answers, and says that the server behind it does not, or does not run."""

    sentence = "The server {host} does not run, or does not answer its proxy (HTTP {status})."
    next_step = "Start it, as on its JupyterHub's page; kernels wait for it:"
    next_command = "{url}"


class ServerStopped(ServerAway):
    """Its JupyterHub says so. That is no word about kernels."""

    sentence = "The server {host} does not run."
    next_step = "A start of a kernel there starts it, and so does its JupyterHub's page:"


class ServerBusy(HostError):
    """`pause` is what it says of when to try again: seconds, or nothing."""

    sentence = "{host} has no room for more now (HTTP {status})."
    next_step = "Try again in a while. The server said:"
    next_command = ""

    @property
    def seconds(self) -> float:
        """When to try again; 0 where it does not say."""
        pause = str(self.fields["pause"])
        return float(pause) if pause.isascii() and pause.isdigit() else 0.0


class MayNotStart(NeedsPerson):
    """`url` is the Hub's page that starts it."""

    sentence = "The server {host} does not run, and the token kept for it may not start it."
    next_step = "Start it on its JupyterHub's page, or make a token there that may:"
    next_command = "{url}"


class NotStarted(RemoteError):
    """`url` is the Hub's page that starts it."""

    sentence = "The JupyterHub of {host} could not start it ({what})."
    next_step = (
        "Try its page (the first command). What that page asks for, a start here takes from the "
        "settings (the second):"
    )
    next_command = "{url}\nsshpyk edit {card} --server-options NAME=VALUE"


class NoBinder(RemoteError):
    """`url` is the Binder's page for the repository, `details` what it said last."""

    sentence = "The Binder has made no server for {host}."
    next_step = "Its page shows all of what it says:"
    next_command = "{url}"


class StillStarting(LaunchTimeout):
    """`url` is the Hub's page, `stage` what it said last."""

    sentence = "The server {host} has not started within {seconds:g} s ({stage})."
    next_step = "It may yet: start the kernel again in a while. This page shows how far it is:"
    next_command = "{url}"


class ServerNotTrusted(HostError):
    """`reason` is what TLS found wrong."""

    sentence = "The certificate of {host} can't be verified: {reason}."
    next_step = (
        "If the server has a certificate authority of its own, get its certificate from who runs "
        "it, and name it when you add its kernels (the first command), or for a kernel that is "
        "there (the second):"
    )
    next_command = "sshpyk add {url} --ca FILE\nsshpyk edit {card} --ca FILE"


class TlsFailed(HostError):
    sentence = "No TLS with {host} came about: {reason}."
    next_step = "Check whether its URL begins with http:// or https://, and --client-cert."
    next_command = ""


class LoginRefused(NeedsPerson):
    sentence = "{host} does not accept the token or password that it was shown (HTTP {status})."
    next_step = "It may be wrong, or have expired. Give another, then what waits goes on by itself:"
    next_command = "{connect}"


class LoginMissing(NeedsPerson):
    sentence = "{host} wants a token or a password, and none is kept for it."
    next_step = "Give it once:"
    next_command = "{connect}"


class LoginPage(NotLetIn):
    """`location` is where the server sends those whom it does not know."""

    sentence = "{host} sends us on to {location}, as it does with whom it does not know."
    next_step = (
        "If that is a login page, make a token there (on a JupyterHub under File > Hub Control "
        "Panel > Token), and give it once:"
    )
    next_command = "{connect}"


class NotJupyter(StrangeAnswer):
    sentence = "What answers at {url} is no Jupyter Server: {what}."
    next_step = "Give the URL that a browser shows, up to what stands before /lab or /tree."
    next_command = ""
    remote_command = ""


class ServerFailed(RemoteError):
    sentence = "{host} could not do it (HTTP {status}, {what})."
    next_step = "The server said why:"


class NoSuchServer(RemoteError):
    sentence = "No Jupyter Server of yours runs on port {port} of {host}; there are: {names}."
    next_step = "Name another port, or a directory, in which one is started:"
    next_command = "sshpyk edit {card} --server DIRECTORY"


class NoServerProgram(RemoteError):
    sentence = "{host} has no Jupyter Server that runs, and no program that could start one."
    next_step = "Install one there, or name the Python that has it with --remote-python:"
    remote_command = "{python} -m pip install jupyterlab"


class NoDirectory(RemoteError):
    sentence = "There is no directory {path} on {host}."
    next_step = "Name one in which a Jupyter Server can start:"
    next_command = "sshpyk edit {card} --server DIRECTORY"


class ServerNotUp(RemoteError):
    sentence = "A Jupyter Server that was started on {host} has not come up."
    next_step = "Start one there by hand, to see why:"
    remote_command = "jupyter server"


class NoServerKernelspec(NoKernelspec):
    next_step = "Choose one of them, or add the kernels anew:"
    next_command = "sshpyk add {url}"


class ServerKernelDied(KernelDied):
    """The server has started it a few times."""

    sentence = "The kernel {name} on {host} ended while it started (its server gave it up)."
    next_step = "Why is in the server's own log alone. See whether its page can start it:"
    next_command = "sshpyk browse {url}"


class ServerKernelGone(KernelGone):
    """The server knows it no more."""


class NoServerKernel(RemoteError):
    sentence = "There is no kernel {id} on {host}."
    next_step = "See what runs there:"
    next_command = "sshpyk add {url}"


class ServerTimeout(LaunchTimeout):
    next_step = "The server may be busy. Give it more time:"
    next_command = "sshpyk edit {card} --launch-timeout SECONDS"


class NoToken(SettingsError):
    """`what` gave none, because of `why`."""

    sentence = "{what} gives no token: {why}."
    next_step = "Mend it, or give a token once:"
    next_command = "{connect}"


class NotCarried(RemoteError):
    """Nothing of ours can run on the server, or not beside its kernels: the plain way remains."""

    sentence = "Kernels of {host} can't be carried: {why}."
    next_step = "The plain way works, and may lose output when the connection breaks:"
    next_command = "sshpyk edit {card} --server-way plain"
