"""What an ssh configuration says of a host, as far as paramiko reads it, and what it can't honour.

It knows `Host`, `Match` and most tokens. We add `Include` outside of both.
"""

from __future__ import annotations

import getpass
import glob
import io
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import paramiko

from .. import errors
from . import knownhosts
from .command import Destination

#: Hosts on the way to one.
MOST_JUMPS = 8

#: Files that includes lead to.
MOST_FILES = 64

#: Those that are honoured.
HONOURED = (
    "hostname user port identityfile identitiesonly proxyjump userknownhostsfile hostkeyalias "
    "globalknownhostsfile preferredauthentications pubkeyauthentication passwordauthentication "
    "kbdinteractiveauthentication challengeresponseauthentication compression canonicaldomains "
    "canonicalizehostname canonicalizemaxdots canonicalizefallbacklocal"
)

#: Those that change nothing here: they are for terminals, masters, forwards and commands that
#: kernels do without, or we say ourselves what they say.
HARMLESS = (
    "addkeystoagent batchmode checkhostip connectionattempts connecttimeout controlmaster "
    "controlpath controlpersist dynamicforward enableescapecommandline escapechar "
    "exitonforwardfailure forkafterauthentication forwardx11 forwardx11timeout forwardx11trusted "
    "gatewayports hashknownhosts ignoreunknown ipqos localcommand localforward loglevel logverbose "
    "numberofpasswordprompts obscurekeystroketiming permitlocalcommand permitremoteopen "
    "remotecommand remoteforward requesttty serveralivecountmax serveraliveinterval sessiontype "
    "stdinnull streamlocalbindmask streamlocalbindunlink syslogfacility tcpkeepalive tunnel "
    "tunneldevice updatehostkeys visualhostkey xauthlocation"
)

#: Values that ask for nothing else than is done anyway.
AS_IS = {
    "stricthostkeychecking": ("yes", "ask"),
    "forwardagent": ("no",),
    "identityagent": ("ssh_auth_sock",),
    "addressfamily": ("any",),
    "gssapiauthentication": ("no",),
    "hostbasedauthentication": ("no",),
    "verifyhostkeydns": ("no",),
}

USUAL_KEYS = ("~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ed25519")


@dataclass(frozen=True)
class Hop:
    """One login on the way: what is needed for it, and the options that it can't have."""

    name: str
    address: str
    port: int
    user: str
    key_name: str  #: what the host is called in questions, as ssh does it
    known_as: str  #: and in known_hosts
    identities: tuple[str, ...] = USUAL_KEYS
    only_identities: bool = False
    methods: tuple[str, ...] = ("publickey", "keyboard-interactive", "password")
    known_hosts: tuple[str, ...] = ()
    compress: bool = False
    unhonoured: tuple[str, ...] = field(default=(), compare=False)


def way(destination: Destination) -> list[Hop]:
    """The logins to make, the host's own last. Raises `SettingsError`."""
    config = _read(destination)
    hops = _to(config, destination.host, [])
    if destination.node is not None:
        user, at, _ = destination.host.rpartition("@")
        hops += _to(config, f"{user}{at}{destination.node}", [])
    return hops


def unhonoured(hops: list[Hop]) -> list[str]:
    """The options that are set and can't be honoured, each once."""
    return list(dict.fromkeys(option for hop in hops for option in hop.unhonoured))


def _to(config: paramiko.SSHConfig, host: str, via: list[str]) -> list[Hop]:
    user, name, port = _parts(host)
    if name in via or len(via) > MOST_JUMPS:
        raise errors.SettingsError(text=f"ProxyJump leads from {name} back to it, or too far.")
    try:
        options = {key: value for key, value in config.lookup(name).items() if value is not None}
    except Exception as error:  # it raises many kinds
        raise _unreadable(error) from None
    if options.get("proxycommand"):
        raise errors.SettingsError(
            text=f"Your ssh configuration has a ProxyCommand for {name}, and paramiko has none.",
            advice="Use a ProxyJump, or an ssh program.",
        )
    before: list[Hop] = []
    jumps = str(options.get("proxyjump", "none"))
    if jumps.lower() != "none":
        first, *more = jumps.split(",")
        before = _to(config, first.strip(), [*via, name])
        # As ssh does: between those that are named, no further ProxyJump counts.
        before += [_to(config, jump.strip(), [*via, name])[-1] for jump in more]
    return [*before, _hop(name, user, port, options)]


def _hop(name: str, user: str | None, port: int | None, options: Mapping[str, object]) -> Hop:
    def text(key: str, default: str = "") -> str:
        value = options.get(key, default)
        return value if isinstance(value, str) else default

    def is_on(key: str, default: str) -> bool:
        return text(key, default).lower() in ("yes", "true")

    address = text("hostname", name)
    try:
        port = port or int(text("port", "22"))
    except ValueError:
        raise errors.SettingsError(text=f"{name}: Port {text('port')!r} is no number.") from None
    named = options.get("identityfile")
    identities = tuple(map(str, named)) if isinstance(named, list) else USUAL_KEYS
    allowed = {
        "publickey": is_on("pubkeyauthentication", "yes")
        or text("pubkeyauthentication") in ("unbound", "host-bound"),
        "keyboard-interactive": is_on("kbdinteractiveauthentication", "yes")
        and is_on("challengeresponseauthentication", "yes"),
        "password": is_on("passwordauthentication", "yes"),
    }
    wanted = text("preferredauthentications", ",".join(allowed)).split(",")
    files = text("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2")
    files += " " + text(
        "globalknownhostsfile", "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"
    )
    return Hop(
        name=name,
        address=address,
        port=port,
        user=user or text("user") or getpass.getuser(),
        key_name=text("hostkeyalias") or address,
        known_as=text("hostkeyalias") or knownhosts.name_of(address, port),
        identities=tuple(one for one in identities if one.lower() != "none"),
        only_identities=is_on("identitiesonly", "no"),
        methods=tuple(one for one in wanted if allowed.get(one)),
        known_hosts=tuple(
            os.path.expanduser(one.strip('"')) for one in _words(files) if one.lower() != "none"
        ),
        compress=is_on("compression", "no"),
        unhonoured=tuple(sorted(_unhonoured(options))),
    )


def _unhonoured(options: Mapping[str, object]) -> list[str]:
    found = []
    fine = {*HONOURED.split(), *HARMLESS.split()}
    for key, value in options.items():
        if key in fine or str(value).lower() in AS_IS.get(key, ()):
            continue
        found.append(f"{key} {value}")
    return found


def _parts(host: str) -> tuple[str | None, str, int | None]:
    """User, name and port of what one gives to ssh."""
    is_url = host.startswith("ssh://")
    user, _, name = host.removeprefix("ssh://").rstrip("/" if is_url else "").rpartition("@")
    found = re.fullmatch(r"\[?([^\]]+?)\]?:(\d+)", name)
    if found and (is_url or ":" not in found.group(1)):
        return user or None, found.group(1), int(found.group(2))
    return user or None, name, None


def _words(text: str) -> list[str]:
    return re.findall(r'"[^"]*"|\S+', text)


def _read(destination: Destination) -> paramiko.SSHConfig:
    """The configuration that ssh would read: the file that is named, or the usual two."""
    config = paramiko.SSHConfig()
    if destination.ssh_config is not None:
        files = [destination.config_path]
    else:
        files = [os.path.expanduser("~/.ssh/config"), "/etc/ssh/ssh_config"]
    for path in files:
        if destination.ssh_config is None and not os.path.exists(path):
            continue
        try:
            text = _text(path, "/etc/ssh" if path.startswith("/etc/ssh/") else "~/.ssh", [])
            config.parse(io.StringIO(text))
        except Exception as error:  # it raises many kinds
            raise _unreadable(error) from None
    return config


def _text(path: str, base: str, seen: list[str]) -> str:
    """A file's text, with what it includes outside of `Host` and `Match`.

    An `Include` within stays, and so is among the options that are not honoured: what is in it
    would count for some hosts only.
    """
    seen.append(path)
    lines = []
    is_outside = True
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        for line in file.read().splitlines():
            words = _words(line.strip().replace("=", " ", 1))
            key = words[0].lower() if words else ""
            is_outside = is_outside and key not in ("host", "match")
            if key != "include" or not is_outside:
                lines.append(line)
                continue
            for pattern in words[1:]:
                pattern = os.path.join(base, pattern.strip('"'))
                for other in sorted(glob.glob(os.path.expanduser(pattern))):
                    if other not in seen and len(seen) < MOST_FILES:
                        lines += [_text(other, base, seen), "Host *"]
    return "\n".join(lines) + "\n"


def _unreadable(error: Exception) -> errors.SettingsError:
    what = "Match exec needs the Python package invoke" if "nvoke" in str(error) else str(error)
    return errors.SettingsError(
        text="paramiko can't read your ssh configuration.",
        advice="Correct what it names, or use an ssh program:",
        details=what,
    )
