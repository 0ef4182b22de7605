"""What the local runtime needs from this machine: nginx, free ports, and a user without privileges."""

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from stack.base import StackError, last_lines

# Debian leaves the sbin folders out of an ordinary user's PATH; Homebrew's is missing in shells that did not read its profile.
MORE_FOLDERS = "/usr/local/sbin:/usr/sbin:/sbin:/opt/homebrew/bin"
DEBIAN_PACKAGES = ("nginx", "gettext-base", "libnginx-mod-http-brotli-filter", "libnginx-mod-http-brotli-static")
COMMANDS = ("nginx", "envsubst")  # envsubst is what nginx/render fills its templates with
# In this order; Debian has both, macOS has the last two.
SERVICE_USERS = ("www-data", "nobody", "_www")


def find_command(name: str, settings: Mapping[str, str]) -> str | None:
    """Return the path of a command, or None."""
    return shutil.which(name, path=f"{settings.get('PATH', os.defpath)}:{MORE_FOLDERS}")


def require_nginx(settings: Mapping[str, str]) -> tuple[str, str]:
    """Return nginx's path and version ("1.22.1"); install it where that is allowed, else raise with the command to run."""
    missing = [command for command in COMMANDS if not find_command(command, settings)]
    if missing:
        _install(missing, settings)
    nginx = find_command("nginx", settings)
    if nginx is None or not find_command("envsubst", settings):
        raise StackError(f"{' and '.join(missing)} cannot be found, although just installed", hint="put it on the PATH")
    answer = subprocess.run([nginx, "-v"], capture_output=True, text=True, check=False)
    _, slash, version = answer.stderr.strip().partition("nginx/")
    if answer.returncode or not slash:
        raise StackError(f"{nginx} does not say its version", details=answer.stderr.strip())
    return nginx, version.split()[0]


def _install(missing: Sequence[str], settings: Mapping[str, str]) -> None:
    by_hand = f"apt-get install {' '.join(DEBIAN_PACKAGES)}" if shutil.which("apt-get") else "brew install nginx gettext"
    allowed = settings.get("STACK_INSTALL", "1") != "0"
    if os.geteuid() != 0 or not shutil.which("apt-get") or not allowed:
        prefix = "" if os.geteuid() == 0 or "brew" in by_hand else "sudo "
        raise StackError(f"{' and '.join(missing)} not found on this machine", hint=f"run: {prefix}{by_hand}")
    print(f"Installing {' '.join(DEBIAN_PACKAGES)} with apt-get (STACK_INSTALL=0 forbids that)", flush=True)
    with _services_stay_stopped():
        for arguments in (["update"], ["install", "--yes", "--no-install-recommends", *DEBIAN_PACKAGES]):
            answer = subprocess.run(
                ["apt-get", "--quiet", *arguments],
                capture_output=True,
                text=True,
                env={**settings, "DEBIAN_FRONTEND": "noninteractive"},
                check=False,
            )
            if answer.returncode:
                raise StackError(f"apt-get {arguments[0]} failed", hint=f"run: {by_hand}", details=last_lines(answer.stderr))
    # The package also registers a service of its own, which would take port 80 at the next start of the machine.
    if Path("/run/systemd/system").is_dir():
        subprocess.run(["systemctl", "disable", "nginx"], capture_output=True, check=False)


@contextmanager
def _services_stay_stopped() -> Iterator[None]:
    """Keep apt from starting what it installs: Debian's interface for that is this script's exit code."""
    policy = Path("/usr/sbin/policy-rc.d")
    if policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink()


def require_port(host: str, port: int) -> None:
    """Raise when something listens on host:port already."""
    with socket.socket() as probe:
        # As nginx binds: a port whose last connections are still in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError:
            raise StackError(f"port {port} may only be opened by root", hint="set GATEWAY_PORT to one above 1023", exit_code=2) from None
        except OSError as error:
            owner = _listener(port)
            raise StackError(
                f"port {port} of {host} is taken{f' by {owner}' if owner else f' ({error.strerror})'}",
                hint=f"stop that, or choose another: GATEWAY_PORT={port + 1} make up",
            ) from None


def _listener(port: int) -> str:
    with suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return ""


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that nothing uses now, all different."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [sock.getsockname()[1] for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()


def service_user(argv: Sequence[str], *, cwd: Path) -> str | None:
    """Return the first user without privileges that can run `argv` in `cwd`; None when there is none, or when this process is not root's."""
    if os.geteuid() != 0:
        return None
    for name in SERVICE_USERS:
        with suppress(KeyError, OSError, subprocess.SubprocessError):
            account = pwd.getpwnam(name)
            run = subprocess.run(
                # The change of folder happens as that user, because root would get anywhere.
                ["/bin/sh", "-c", 'cd "$0" && exec "$@"', str(cwd), *argv],
                user=account.pw_uid,
                group=account.pw_gid,
                extra_groups=[],
                cwd="/",
                capture_output=True,
                check=False,
                timeout=30,
            )
            if run.returncode == 0:
                return name
    return None
