"""Where a Jupyter Server is, and what of a pasted URL says so. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

from ..errors import SettingsError

if TYPE_CHECKING:
    from ..schedulers.base import Allocation
    from ..ssh.command import Destination
    from ..transport.entrance import Entrance

#: Pages of a server: what stands before them is where the server is. A Hub's are all one.
PAGES = "lab|tree|doc|notebooks|edit|consoles|terminals|login|api|files|view|nbclassic|voila|retro"
PAGES += "|hub"


#: What a Binder's link has before the repository, and where it tells of a server for it.
BINDER = r"/(?:v2|build)/(gh|gl|git|gist|zenodo|figshare|hydroshare|dataverse|ckan)/"

#: The Binder that is meant where none is named.
USUAL_BINDER = "https://mybinder.org/"


@dataclass(frozen=True)
class HubServer:
    """A server as its JupyterHub knows it.

    `base` is what the Hub's URLs begin with, with a slash at the end; `user` and `name`, which is
    empty for a user's default server, are quoted as in URLs.
    """

    base: str
    user: str
    name: str

    def api(self, what: str = "") -> str:
        """The URL of the Hub's interface for the user; or for its server, where `what` begins with
        that."""
        if self.name:
            what = re.sub("^server", f"servers/{self.name}", what)
        return f"{self.base}hub/api/users/{self.user}" + (f"/{what}" if what else "")

    @property
    def page(self) -> str:
        """The page on which a person starts the server."""
        return f"{self.base}hub/spawn/{self.user}" + (f"/{self.name}" if self.name else "")


@dataclass(frozen=True)
class HostServer:
    """A Jupyter Server of a host, which only the host itself reaches.

    `wanted` is the port of one that runs there, or a directory, or ANY; `python` runs our agent.
    """

    destination: Destination | Entrance | Allocation
    python: str
    wanted: str

    @property
    def port(self) -> int:
        """The port that is meant; 0: none."""
        return int(self.wanted) if re.fullmatch(r"[1-9][0-9]{0,4}", self.wanted) else 0

    @property
    def directory(self) -> str:
        """The directory that is meant; empty: any."""
        return "" if self.port or self.wanted == ANY else self.wanted

    @property
    def name(self) -> str:
        """What people call it."""
        which = "" if self.wanted == ANY else f" {self.wanted}"
        return f"the Jupyter Server{which} of {self.destination.host}"


#: Any server that runs on a host; where there is none, one in its home.
ANY = "any"


@dataclass(frozen=True)
class ServerAddress:
    """What another process needs to reach a server: no secrets, but where they are found.

    `url` ends with a slash; `ca`, `client_cert` and `client_key` are paths of PEM files,
    `token_env` names an environment variable, `token_command` is a command that prints a token.
    With `through` it is a server of a host; then `url` is known only while there is a way to it.
    """

    url: str
    ca: str = ""
    client_cert: str = ""
    client_key: str = ""
    token_env: str = ""
    token_command: str = ""
    through: HostServer | None = None

    @property
    def host(self) -> str:
        """As people call it: without scheme, and without the slash at the end."""
        if self.through is not None:
            return self.through.name
        parts = urlsplit(self.url)
        return (parts.netloc + parts.path).rstrip("/")

    @property
    def may_carry(self) -> bool:
        """Whether its kernels may be carried: where ssh leads there, the websocket has a stream of
        its own; what a Binder makes has no address yet."""
        return self.through is None and not self.is_binders

    @property
    def is_binders(self) -> bool:
        """Whether a Binder makes the server at each start, and tells there where it is."""
        return re.search(BINDER, self.url) is not None

    @property
    def hub(self) -> HubServer | None:
        """How the JupyterHub knows it to which it belongs, if its URL looks so."""
        found = re.fullmatch(r"(.*?/)user/([^/]+)/(?:([^/]+)/)?", self.url)
        if self.through is not None:
            return None
        return None if found is None else HubServer(found[1], found[2], found[3] or "")

    def is_stopped_at(self, url: str) -> bool:
        """Whether a Hub sends on to `url` what is for this server, because it does not run."""
        hub = self.hub
        return hub is not None and url.startswith(f"{hub.base}hub/user/")

    def for_people(self) -> str:
        """As a person finds it."""
        return self.url

    @property
    def login(self) -> str:
        """The command by which a person gives what the server asks for."""
        there = self.url if self.through is None else self.through.destination.host
        return f"sshpyk connect {there}"

    def endpoint(self, *path: str, query: str = "", is_websocket: bool = False) -> str:
        """The URL of something below the server's; each piece of the path is quoted."""
        scheme, netloc, base, _, _ = urlsplit(self.url)
        if is_websocket:
            scheme = {"http": "ws", "https": "wss"}[scheme]
        joined = base + "/".join(quote(piece, safe="") for piece in path)
        return urlunsplit((scheme, netloc, joined, query, ""))

    def check(self) -> None:
        """Raise `SettingsError` where this can't be a server's address."""
        if self.through is not None:
            self.through.destination.check()
            return
        if split(self.url) != (self.url, ""):
            raise SettingsError(
                text=f"{shown(self.url)!r:.200} is not the URL of a Jupyter Server.",
                advice="It begins with http:// or https://, ends with /, and has no token in it.",
            )
        if self.client_key and not self.client_cert:
            raise SettingsError(
                text="`client_key` is of no use without `client_cert`.",
                advice="Name the certificate that it is of with --client-cert FILE.",
            )


@dataclass(frozen=True)
class ServerKernelAddress:
    """Where a kernel is, on which server."""

    server: ServerAddress
    id: str


def is_url(text: str) -> bool:
    """Whether a person means a server by it, and not a host."""
    return re.match(r"https?://|binder:", text, re.IGNORECASE) is not None


def split(text: str) -> tuple[str, str]:
    """The server's URL and the token in what a person has pasted. Raises `SettingsError`."""
    text = re.sub(r"^binder:/*", f"{USUAL_BINDER}v2/", text.strip())
    try:
        parts = urlsplit(text)
        scheme, host, port = parts.scheme.lower(), parts.hostname, parts.port
    except ValueError:
        scheme, host, port = "", None, None
    if scheme not in ("http", "https") or not host or re.search(r"[\s\x00-\x1f\x7f]", text.strip()):
        raise SettingsError(
            text=f"{shown(text)!r:.200} is not the URL of a Jupyter Server.",
            advice="It looks like https://HOST/ or https://HOST/user/NAME/.",
        )
    if parts.username is not None or parts.password is not None:
        raise SettingsError(
            text=f"The URL of {host} has a user or a password in it.",
            advice="Leave it out; `sshpyk connect URL` asks for what the server wants.",
        )
    # What a Binder's link has behind its /v2/ is not a page, whatever it is called.
    path = re.sub(BINDER, r"/build/\1/", parts.path)
    if path == parts.path and not re.search(BINDER, path):
        path = re.sub(rf"/({PAGES})(/.*)?$", "/", path)
    path = "/" + path.strip("/") + "/" if path.strip("/") else "/"
    name = f"[{host}]" if ":" in host else host
    netloc = name if port is None else f"{name}:{port}"
    token = dict(parse_qsl(parts.query)).get("token", "")
    return urlunsplit((scheme, netloc, path, "", "")), token


def shown(url: str) -> str:
    """`url` without what may be a secret in it."""
    return re.sub(r"//[^/@]*@", "//", re.split(r"[?#]", url, maxsplit=1)[0])
