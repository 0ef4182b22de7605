"""The certificate that the gateway serves: the kit's own script (nginx/certificate) says what is wrong with it."""

import stat
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.doctor.compose import Service
from tools.doctor.values import Missing, Origin, Setting, setting_of

# Constants of the image, and its user (nginx/Dockerfile).
FOLDER, CERTIFICATE, KEY, GATEWAY_UID = "/run/tls", "fullchain.pem", "privkey.pem", 10101
NAMES = "localhost 127.0.0.1 [::1]"  # the default of SERVER_NAMES
ANSWER_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class Certificate:
    """Why browsers get none or refuse it, and what else is worth a word."""

    file: Setting
    problem: str = ""
    remarks: tuple[str, ...] = ()


def ask(script: Sequence[str], folder: Path, gateway: Service, shown: str, origin: Origin) -> Certificate | Missing:
    """Run `certificate check`, here or (as part of `script`) in a container."""
    names = setting_of(gateway.environment, "SERVER_NAMES", NAMES).value.split()
    try:
        argv = [*script, "check", str(folder / CERTIFICATE), str(folder / KEY), *names]
        answer = subprocess.run(argv, capture_output=True, text=True, timeout=ANSWER_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Missing(f"{script[0]} cannot be run: {error}")
    lines = tuple(line.removeprefix("certificate: ").replace(str(folder), shown) for line in answer.stderr.splitlines())
    file = Setting("certificate", "", f"{shown}/{CERTIFICATE}", origin)
    if answer.returncode == 0:
        return Certificate(file, remarks=lines)
    if answer.returncode == 1 and lines:
        return Certificate(file, problem=lines[0])
    return Missing("the script that knows what is wrong with a certificate does not answer")


def from_files(project: Path, gateway: Service) -> Certificate | Missing:
    """Look at the pair in a folder of the host that is mounted into the gateway (TLS_DIR)."""
    mounts = {mount["target"]: mount["source"] for mount in gateway.model.get("volumes") or () if mount.get("type") == "bind"}
    if FOLDER not in mounts:
        return Missing("it is in a volume, and is looked at in the running gateway")
    folder, origin = Path(mounts[FOLDER]), gateway.at("volumes")
    shown = str(folder.relative_to(project)) if folder.is_relative_to(project) else str(folder)
    for name in (CERTIFICATE, KEY):
        if (folder / name).exists() and not _gateway_can_read(folder / name):
            problem = f"{shown}/{name} cannot be read by user {GATEWAY_UID}, the gateway: chown {GATEWAY_UID}, mode 400"
            return Certificate(Setting("certificate", "", f"{shown}/{CERTIFICATE}", origin), problem)
    return ask(["sh", str(project / "nginx" / "certificate")], folder, gateway, shown, origin)


def _gateway_can_read(file: Path) -> bool:
    """Ask for the gateway's user, not for the one who runs this: root reads everything."""
    about = file.stat()
    needed = stat.S_IRUSR if about.st_uid == GATEWAY_UID else stat.S_IRGRP if about.st_gid == GATEWAY_UID else stat.S_IROTH
    return bool(about.st_mode & needed)
