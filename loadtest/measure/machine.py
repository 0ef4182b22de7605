"""Where a run took place: what a reader needs to know before comparing it with another."""

import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

import psutil

from gunicorn_hooks.sizing import cpu_quota
from loadtest.records.model import Machine

PACKAGES = ("locust", "gevent", "flask", "gunicorn", "tornado", "sqlalchemy", "psycopg", "numpy")
ROOT = Path(__file__).resolve().parents[2]


def fingerprint(runtime: str) -> Machine:
    return Machine(
        cpu_model=_cpu_model(),
        cpus=os.cpu_count() or 1,
        cpu_quota=cpu_quota(),
        memory_bytes=psutil.virtual_memory().total,
        kernel=f"{platform.system()} {platform.release()}",
        system=_system(),
        python=platform.python_version(),
        versions={name: metadata.version(name) for name in PACKAGES},
        git_commit=_git_commit(),
        runtime=runtime,
    )


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return platform.platform()


def _git_commit() -> str:
    if not shutil.which("git"):
        return ""
    answer = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"], capture_output=True, text=True, check=False, timeout=10
    )
    return answer.stdout.strip()
