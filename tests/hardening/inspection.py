"""What the engine says of a running container, and what its processes say themselves."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from subprocess import CompletedProcess
from typing import Any

from tools.stack import Stack

WRITES_ROOT = "for folder in / /etc /usr/bin /srv /var; do touch $folder/probe 2>/dev/null && echo wrote $folder; done; true"
ROOT_USERS = {"", "0", "root", "0:0"}
# Places of the host that no container here has any business in.
SENSITIVE = ("/", "/boot", "/dev", "/etc", "/lib", "/proc", "/sys", "/usr", "/var/run", "/run")


def docker(*arguments: str) -> CompletedProcess[str]:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)


def inspect(stack: Stack, service: str) -> dict[str, Any]:
    listed = docker(
        "ps",
        "--all",
        "--quiet",
        "--filter",
        f"label=com.docker.compose.project={stack.name}",
        "--filter",
        f"label=com.docker.compose.service={service}",
    )
    description: dict[str, Any] = json.loads(docker("inspect", listed.stdout.split()[0]).stdout)[0]
    return description


def status_fields(stack: Stack, service: str) -> list[dict[str, str]]:
    """The fields of /proc/PID/status of every process in the container."""
    text = stack.exec(service, ["sh", "-c", "for file in /proc/[0-9]*/status; do cat $file; echo; done"]).stdout
    blocks = [dict(line.split(":", 1) for line in block.splitlines() if ":" in line) for block in text.split("\n\n")]
    processes = [block for block in blocks if "Uid" in block]
    assert processes, f"no process of {service} can be seen"
    return processes


def root_processes(stack: Stack, service: str) -> list[str]:
    """The names of processes that run as root."""
    return [process["Name"] for process in status_fields(stack, service) if "0" in process["Uid"].split()]


def process_rights(stack: Stack, service: str) -> list[tuple[str, str]]:
    """What processes hold or can get: (name of the process, name of the right in /proc/PID/status)."""
    found = []
    for process in status_fields(stack, service):
        rights = [name for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb") if int(process[name], 16)]
        rights += [] if process["NoNewPrivs"].strip() == "1" else ["NoNewPrivs"]
        rights += [] if process["Seccomp"].strip() == "2" else ["Seccomp"]  # 2: filtered, the engine's default profile is on
        found += [(process["Name"], right) for right in rights]
    return found


def root_writes(stack: Stack, service: str) -> str:
    """What even root can write of the root file system, a line for each folder."""
    wrote = docker("exec", "--user", "0", inspect(stack, service)["Id"], "sh", "-c", WRITES_ROOT)
    assert wrote.returncode == 0, wrote.stderr
    return wrote.stdout


def cis_findings(description: Mapping[str, Any], *, one_shot: bool = False) -> list[str]:
    """The points of the CIS Docker Benchmark (1.6.0, chapters 4 and 5) that a container as `docker inspect` describes it breaks.

    docs/updates.md says which points are left out, and why.
    """
    return [point for point, broken in _points(description, one_shot=one_shot) if broken]


def _points(description: Mapping[str, Any], *, one_shot: bool) -> Iterator[tuple[str, bool]]:
    config, host = description["Config"], description["HostConfig"]
    ports = [binding for bindings in (host["PortBindings"] or {}).values() for binding in bindings or ()]
    mounts = [mount for mount in description["Mounts"] if mount["Type"] == "bind"]
    check = (config.get("Healthcheck") or {}).get("Test") or ["NONE"]
    security = host["SecurityOpt"] or []
    yield "4.1 a user", config["User"] in ROOT_USERS
    yield "4.6 a health check", not one_shot and check[0] == "NONE"
    yield "4.10 no secrets in the image or the environment", any(_looks_secret(word) for word in config["Env"] or ())
    yield "5.4 no capabilities", host["CapDrop"] != ["ALL"] or bool(host["CapAdd"])
    yield "5.5 not privileged", host["Privileged"]
    yield "5.6 no folders of the host's system", any(mount["Source"] in SENSITIVE for mount in mounts)
    yield "5.8 no privileged port", any(0 < int(binding["HostPort"] or 0) < 1024 for binding in ports)
    yield "5.10 not the host's network", host["NetworkMode"] == "host"
    yield "5.11 a bound for memory", host["Memory"] <= 0
    yield "5.12 a bound for CPU", host["NanoCpus"] <= 0
    yield "5.13 a read-only root file system", not host["ReadonlyRootfs"]
    yield "5.14 ports on one address only", any(binding["HostIp"] in {"", "0.0.0.0", "::"} for binding in ports)  # noqa: S104 - looked for
    yield "5.16 not the host's processes", host["PidMode"] == "host"
    yield "5.17 not the host's IPC", host["IpcMode"] == "host"
    yield "5.18 no device of the host", bool(host["Devices"])
    yield "5.20 no shared mount propagation", any(mount.get("Propagation") == "shared" for mount in mounts)
    yield "5.21 not the host's UTS", host["UTSMode"] == "host"
    yield "5.22 the seccomp profile", "seccomp=unconfined" in security
    yield "5.25 no cgroup of somebody else", bool(host["CgroupParent"])
    yield "5.26 no new privileges", "no-new-privileges:true" not in security
    yield "5.29 a bound for processes", (host["PidsLimit"] or 0) <= 0
    yield "5.30 not the default bridge", host["NetworkMode"] in {"bridge", "default"}
    yield "5.31 not the host's users", host["UsernsMode"] == "host"
    yield "5.32 not the engine's socket", any(mount["Source"].endswith("docker.sock") for mount in mounts)
    yield "a bound for the log", not (host["LogConfig"]["Config"] or {}).get("max-size")


def _looks_secret(word: str) -> bool:
    name, _, value = word.partition("=")
    return bool(value) and name.endswith(("PASSWORD", "SECRET_KEY", "TOKEN", "API_KEY"))
