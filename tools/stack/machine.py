"""What the local runtime needs from this machine: nginx, free ports, and a user without privileges."""

import errno
import os
import pwd
import random
import shutil
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import TemporaryFile
from typing import Any

import click
import psutil

from tools.stack.base import StackError, last_lines

# Debian leaves the sbin folders out of an ordinary user's PATH; Homebrew's is missing in shells that did not read its profile.
MORE_FOLDERS = "/usr/local/sbin:/usr/sbin:/sbin:/opt/homebrew/bin"
# Below those that Linux (from 32768) and macOS (from 49152) give to outgoing connections.
PORTS = "20000-32767"
# The Debian packages that provide a command; all after envsubst are for the tests.
PACKAGES = {
    "nginx": "nginx libnginx-mod-http-brotli-filter libnginx-mod-http-brotli-static libnginx-mod-http-modsecurity modsecurity-crs jq",
    "envsubst": "gettext-base",  # fills in nginx/templates
    "postgres": "postgresql",
    "chromium": "chromium",
    "java": "default-jre-headless",
    "npm": "nodejs npm",
    "shellcheck": "shellcheck",
    "openssl": "openssl",
    "testssl": "testssl.sh",
    "slowhttptest": "slowhttptest",
}
# What Homebrew calls otherwise than the command.
BREW = {"envsubst": "gettext", "postgres": "postgresql", "java": "openjdk", "npm": "node", "openssl": "openssl@3"}
COMMANDS = ("nginx", "envsubst")  # what the local runtime needs
# In this order; Debian has both, macOS has the last two.
SERVICE_USERS = ("www-data", "nobody", "_www")


def find_command(name: str, settings: Mapping[str, str]) -> str | None:
    # Debian keeps PostgreSQL's servers of all versions side by side, out of everybody's PATH.
    versions = [str(folder) for folder in Path("/usr/lib/postgresql").glob("*/bin")]
    return shutil.which(name, path=":".join([settings.get("PATH", os.defpath), MORE_FOLDERS, *versions]))


def require_commands(commands: Sequence[str], settings: Mapping[str, str]) -> None:
    """Install the commands that are missing where that is allowed, else raise with the command to run."""
    missing = [command for command in commands if not find_command(command, settings)]
    if not missing:
        return
    what = " and ".join(missing)
    with_apt = shutil.which("apt-get") is not None
    packages = [name for command in missing for name in (PACKAGES[command] if with_apt else BREW.get(command, command)).split()]
    by_hand = f"{'apt-get install --yes' if with_apt else 'brew install'} {' '.join(packages)}"
    if os.geteuid() != 0 or not with_apt or settings.get("STACK_INSTALL", "1") == "0":
        sudo = "sudo " if with_apt and os.geteuid() != 0 else ""
        raise StackError(f"{what} not found on this machine", hint=f"run: {sudo}{by_hand}")
    click.echo(f"Installing {' '.join(packages)} with apt-get (STACK_INSTALL=0 forbids that)")
    _apt_install(packages, settings, by_hand)
    if still := [command for command in missing if not find_command(command, settings)]:
        raise StackError(f"{' and '.join(still)} cannot be found, although just installed", hint="put it on the PATH")


def _apt_install(packages: Sequence[str], settings: Mapping[str, str], by_hand: str) -> None:
    with _services_stay_stopped():
        for arguments in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
            env = {**settings, "DEBIAN_FRONTEND": "noninteractive"}
            answer = subprocess.run(["apt-get", "--quiet", *arguments], capture_output=True, text=True, env=env, check=False)
            if answer.returncode:
                raise StackError(f"apt-get {arguments[0]} failed", hint=f"run: {by_hand}", details=last_lines(answer.stderr))
    # The package also registers a service of its own, which would take port 80 at the next start of the machine.
    if "nginx" in packages and Path("/run/systemd/system").is_dir():
        subprocess.run(["systemctl", "disable", "nginx"], capture_output=True, check=False)


def require_nginx(settings: Mapping[str, str]) -> tuple[str, str]:
    """Return nginx's path and version ("1.22.1"), after making sure that there is one."""
    require_commands(COMMANDS, settings)
    nginx = find_command("nginx", settings) or ""
    answer = subprocess.run([nginx, "-v"], capture_output=True, text=True, check=False)
    _, slash, version = answer.stderr.strip().partition("nginx/")
    if answer.returncode or not slash:
        raise StackError(f"{nginx} does not say its version", details=answer.stderr.strip())
    return nginx, version.split()[0]


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


def require_port(host: str, port: int, *, as_engine: bool = False) -> None:
    """Raise when something listens on host:port already, or this machine has no such address; an engine may open any port."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        # As nginx binds: a port whose last connections are still in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError:
            if not as_engine:
                hint = "set GATEWAY_PORT to one above 1023"
                raise StackError(f"port {port} may only be opened by root", hint=hint, exit_code=2) from None
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise StackError(f"this machine has no address {host}", hint="choose one that it has: GATEWAY_BIND", exit_code=2) from None
            owner = _listener(port)
            raise StackError(
                f"port {port} of {host} is taken{f' by {owner}' if owner else f' ({error.strerror})'}",
                hint=f"stop that, or choose another: GATEWAY_PORT={port + 1} make up",
            ) from None


def _listener(port: int) -> str:
    with suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return ""


GIVEN: deque[int] = deque(maxlen=100)  # more than are chosen before the first of them is bound


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that nothing uses now, all different.

    A port is free until somebody binds it, so the last that were given to this process are not given again. The range keeps
    away from those that systems give to outgoing connections; runs side by side each get a range of their own by the variable
    KIT_PORTS ("20000-23999"), as the tests do.
    """
    first, last = map(int, os.environ.get("KIT_PORTS", PORTS).split("-"))
    ports = [*{*range(first, last + 1)}.difference(GIVEN)]
    random.shuffle(ports)
    free = list(islice(filter(_is_free, ports), count))
    if len(free) < count:
        raise StackError(f"{count} free ports are needed, and 127.0.0.1 has {len(free)} from {first} to {last}")
    GIVEN.extend(free)
    return free


def free_hundred(*, avoid: int) -> str:
    """Return the digits with which a hundred ports begin that nothing uses now, `avoid` not among them: "205" for 20500 to 20599.

    Runs side by side that use many single ports as well keep these elsewhere, by KIT_PORT_BLOCKS: one in each hundred is in the way.
    """
    first, last = map(int, os.environ.get("KIT_PORT_BLOCKS", PORTS).split("-"))
    hundreds = [*range(-(-first // 100), (last + 1) // 100)]
    random.shuffle(hundreds)
    for hundred in hundreds:
        if avoid // 100 != hundred and all(map(_is_free, range(hundred * 100, hundred * 100 + 100))):
            return str(hundred)
    raise StackError(f"a hundred ports in a row are needed, and of 127.0.0.1 none are free from {first} to {last}")


def processors() -> list[int]:
    """Return those that this process may use, by number; where the system does not tell, as many as there are."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def processors_apart() -> tuple[list[int], list[int]]:
    """Return those for what is measured and those for the load generator: the last one, where there are two, else none of its own."""
    *rest, last = processors()
    return (rest, [last]) if rest else ([last], [])


def _is_free(port: int) -> bool:
    with suppress(OSError), socket.create_server(("127.0.0.1", port)):
        return True
    return False


@dataclass(frozen=True, slots=True)
class Account:
    """Who the processes run as. `name` is None for the user who starts the stack."""

    name: str | None

    def own(self, path: Path | int) -> None:
        """Give a file or folder to this user; of a symbolic link the link itself, as its target may be anything."""
        if self.name is not None:
            entry = pwd.getpwnam(self.name)
            os.chown(path, entry.pw_uid, entry.pw_gid, follow_symlinks=isinstance(path, int))

    def run(self, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> CompletedProcess[str]:
        """Run a command to its end, as this user; one that cannot be started has the exit code 127."""
        how: dict[str, Any] = {"umask": 0o022, "text": True, "errors": "replace"}
        if self.name is not None:
            how |= {"user": self.name, "group": pwd.getpwnam(self.name).pw_gid, "extra_groups": []}
        # A file, not a pipe: nginx opens /dev/stdout anew, which with a pipe of root's is denied to any other user.
        with TemporaryFile("w+", errors="replace") as output:
            self.own(output.fileno())
            try:
                answer = subprocess.run(argv, check=False, cwd=cwd, env=dict(env), stdout=output, stderr=subprocess.PIPE, **how)
            except OSError as error:
                return CompletedProcess(list(argv), 127, "", f"{argv[0]}: {error.strerror}\n")
            output.seek(0)
            return CompletedProcess(list(argv), answer.returncode, output.read(), answer.stderr)


def give(*folders: Path, readable: Sequence[Path]) -> Account:
    """Make folders for the processes and return whose they are: who starts them, but an unprivileged user when root does.

    That user must be able to read this Python and `readable`. What is in the folders already becomes that user's as well.
    """
    try:
        for folder in folders:
            folder.mkdir(0o700, parents=True, exist_ok=True)
    except OSError as error:
        message = f"cannot write to {error.filename}: {error.strerror}"
        raise StackError(message, hint="put the project into a folder of your own") from None
    account = _choose_account(readable)
    for path in (*folders, *(inside for folder in folders for inside in folder.iterdir())):
        account.own(path)
    return account


def _choose_account(readable: Sequence[Path]) -> Account:
    if os.geteuid() != 0:
        return Account(None)
    check = "import gunicorn, os, supervisor, sys; sys.exit(not all(os.access(path, os.R_OK | os.X_OK) for path in sys.argv[1:]))"
    for name in SERVICE_USERS:
        account = Account(name)
        with suppress(KeyError):  # no such user here
            argv = [sys.executable, "-c", check, *map(str, readable)]
            if account.run(argv, cwd=Path("/"), env={}).returncode == 0:
                click.echo(f"You are root; the processes run as {name}.")
                return account
    click.echo(f"You are root; the processes run as root too, because {SERVICE_USERS[0]} cannot read {readable[0]} with {sys.executable}.")
    return Account(None)
