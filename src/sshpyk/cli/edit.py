"""`sshpyk edit`: change what is given, remove what is to be unset, keep the rest."""

from __future__ import annotations

import argparse
from typing import Any

from .. import errors
from ..jupyter import kernelspec
from . import options
from .terminal import Terminal

#: Settings that no kernel.json can do without.
NEEDED = ("ssh_host_alias",)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("name", nargs="?", metavar="NAME", help="the kernel")
    which.add_argument("--kernel-name", dest="name_option", metavar="NAME", help="the same")
    parser.add_argument("--display-name", type=options.line, help="its name in Jupyter")
    parser.add_argument("--language", type=options.line, help="its language")
    parser.add_argument(
        "--unset",
        action="append",
        default=[],
        metavar="OPTION",
        help="remove a setting, such as launch-timeout: its default holds again",
    )
    parser.add_argument(
        "--renew",
        action="store_true",
        help="have programs that know no provisioners start the Python that runs this",
    )
    options.add_all(parser)


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Do it."""
    spec = ours(arguments.name or arguments.name_option)
    changes = options.given(arguments)
    config = spec.config
    unset = [_setting(text, {**config, **changes}) for text in arguments.unset]
    both = [name for name in unset if name in changes]
    if both:
        raise errors.SettingsError(text=f"{both[0]} is both given and in --unset: which is it?")
    for name, value in changes.items():
        old = config.get(name)
        if isinstance(value, dict) and isinstance(old, dict):
            changes[name] = {**old, **value}
    texts = {key: getattr(arguments, key) for key in ("display_name", "language")}
    done = change(spec, texts, changes, unset)
    argv = kernelspec.make_argv(spec.name)
    if arguments.renew and spec.content.get("argv") != argv:
        done.append(f"argv: begins with {argv[0]} now")
        spec.content["argv"] = argv
    if not (changes or unset or arguments.renew or arguments.display_name or arguments.language):
        raise errors.SettingsError(text="Nothing to change: give an option (see --help).")
    if done:
        kernelspec.rewrite(spec)
    for line in done or ["nothing to change: the settings are so already"]:
        terminal.say(f"{spec.name}: {line}")
    return 0


def change(
    spec: kernelspec.LocalSpec,
    texts: dict[str, str | None],
    changes: dict[str, Any],
    unset: list[str],
) -> list[str]:
    """Change the content of a kernelspec, which is not written yet; a line for each change.

    `texts` are beside the settings; None leaves one as it is. Raises `SettingsError` where no
    kernel could start so.
    """
    config = spec.config
    done = []
    for key, text in texts.items():
        if text is not None and text != spec.content.get(key):
            done.append(f"{key}: {_show(spec.content.get(key))} → {_show(text)}")
            spec.content[key] = text
    for name, value in changes.items():
        if name not in config or config[name] != value:
            done.append(f"{name}: {_show(config.get(name))} → {_show(value)}")
            config[name] = value
    for name in unset:
        if name in config:
            done.append(f"{name}: {_show(config.pop(name))} → not set")
    check(config)
    return done


def ours(name: str) -> kernelspec.LocalSpec:
    """The kernelspec `name`. Raises `NotOurs` where another program answers for it."""
    spec = kernelspec.find(name)
    if not spec.is_ours:
        command = ""
        if spec.trouble:
            advice = f"Its kernel.json {spec.trouble}."
        else:
            advice = "Leave it to what made it, or remove it:"
            command = f"jupyter kernelspec remove {spec.name}"
        raise errors.NotOurs(name=spec.name, path=spec.directory, advice=advice, command=command)
    return spec


def check(config: dict[str, Any]) -> None:
    """Raise `SettingsError` where a kernel with these settings could never start."""
    from ..jupyter.places import destination_of, server_of

    server = server_of(config)
    if server is not None:
        places = ("ssh_host_alias", "via", "inside", "server")
        if config.get("server_url") and any(config.get(name) for name in places):
            raise errors.SettingsError(
                text="`server_url` is in place of a host: it can't stand beside `ssh_host_alias`, "
                "`via`, `inside` or `server`."
            )
        server.check()
        return
    if config.get("via") and (config.get("ssh_host_alias") or config.get("inside")):
        raise errors.SettingsError(
            text="`via` is in place of a host: it can't stand beside `ssh_host_alias` or `inside`.",
            advice="On a host a command leads on by --inside.",
        )
    if isinstance(config.get("slurm"), str) and (config.get("via") or config.get("inside")):
        raise errors.SettingsError(text="`slurm` can't stand beside `via` or `inside`.")
    if config.get("allocation") and not isinstance(config.get("slurm"), str):
        raise errors.SettingsError(text="`allocation` is of use beside `slurm` only.")
    destination_of(config).check()


def _setting(text: str, config: dict[str, Any]) -> str:
    if text in config and text not in NEEDED:
        return text  # even one that sshpyk does not know
    option = options.named(text)
    if option is None:
        known = ", ".join(option.flag[2:] for option in options.declared())
        raise errors.SettingsError(text=f"--unset {text}: there is no such setting. Known: {known}")
    if option.name in NEEDED and not (config.get("via") or "slurm" in config):
        raise errors.SettingsError(text=f"--unset {text}: a kernel needs a host; give another.")
    return option.name


def _show(value: Any) -> str:
    return "not set" if value is None else repr(value)
