"""The certificate that the gateway serves: the kit's own script (nginx/certificate) says what is wrong with it."""

import os
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tools.doctor.facts import Certificate, Environment, Missing, Service
from tools.doctor.values import Origin, Setting

ANSWER_TIMEOUT_S = 30
# The script's exit codes for a pair that can be used, and for one that cannot.
USABLE, UNUSABLE = 0, 1
# nginx/render's own defaults.
CERTIFICATE, KEY, NAMES = "/run/tls/fullchain.pem", "/run/tls/privkey.pem", "localhost 127.0.0.1 [::1]"
# The gateway's user (nginx/Dockerfile).
GATEWAY_UID = 10101


class Chosen(NamedTuple):
    """What a gateway is told to serve."""

    certificate: str
    key: str
    names: Sequence[str]


def chosen(environment: Environment) -> Chosen:
    """What these settings choose."""

    def value(name: str, default: str) -> str:
        return environment[name].value if name in environment else default

    return Chosen(value("TLS_CERTIFICATE", CERTIFICATE), value("TLS_KEY", KEY), value("SERVER_NAMES", NAMES).split())


def ask(script: Sequence[str], what: Chosen, origin: Origin) -> Certificate | Missing:
    """Run `certificate check`, here or (as part of `script`) in a container."""
    try:
        command = [*script, "check", what.certificate, what.key, *what.names]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Missing(f"{script[0]} cannot be run: {error}")
    lines = tuple(line.removeprefix("certificate: ") for line in answer.stderr.splitlines())
    file = Setting("certificate", what.certificate, what.certificate, origin)
    if answer.returncode == USABLE:
        return Certificate(file, remarks=lines)
    if answer.returncode == UNUSABLE and lines:
        return Certificate(file, problem=lines[0])
    return Missing("the script that knows what is wrong with a certificate does not answer")


def on_this_machine(root: Path, environment: Environment) -> Certificate | Missing:
    """The pair of the local runtime."""
    return ask(["sh", str(root / "nginx" / "certificate")], chosen(environment), Origin("TLS_CERTIFICATE"))


def in_folder_of_host(root: Path, gateway: Service) -> Certificate | Missing:
    """The pair in a folder that is mounted into the gateway (TLS_DIR)."""
    what = chosen(gateway.environment)
    folder = str(Path(what.certificate).parent)
    if folder not in gateway.mounts:
        return Missing("it lies in a volume, and is looked at in the running gateway")
    here = Path(gateway.mounts[folder])
    files = [here / Path(name).name for name in (what.certificate, what.key)]
    shown = [_shown(file, root) for file in files]
    setting = Setting("certificate", shown[0], shown[0], gateway.mounts_origin)
    for file, name in zip(files, shown, strict=True):
        if file.exists() and not _is_readable(file):
            return Certificate(setting, f"{name} cannot be read by user {GATEWAY_UID}, the gateway: chown {GATEWAY_UID}, mode 400")
    names = Chosen(str(files[0]), str(files[1]), what.names)
    found = ask(["sh", str(root / "nginx" / "certificate")], names, gateway.mounts_origin)
    if isinstance(found, Missing):
        return found
    remarks = tuple(line.replace(f"{root}/", "") for line in found.remarks)
    return Certificate(setting, found.problem.replace(f"{root}/", ""), remarks)


def _shown(file: Path, root: Path) -> str:
    return str(file.relative_to(root)) if file.is_relative_to(root) else str(file)


def _is_readable(file: Path) -> bool:
    """For the gateway's user, not for the one who asks: root reads everything."""
    about = file.stat()
    allowed = stat.S_IROTH if about.st_uid != GATEWAY_UID else stat.S_IRUSR
    if about.st_uid != GATEWAY_UID and about.st_gid == GATEWAY_UID:
        allowed = stat.S_IRGRP
    return bool(about.st_mode & allowed) or os.name != "posix"
