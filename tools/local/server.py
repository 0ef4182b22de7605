"""Install what servers/NAME/requirements.txt lists, beside the virtual environment and looked for first."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import click

from tools.stack.base import StackError, last_lines


def install(name: str, root: Path) -> list[Path]:
    """Return where SERVER's packages are, [] for one that comes with the application; raise when they cannot be installed."""
    if name and tomllib.loads((root / "servers" / name / "server.toml").read_text()).get("only") == "compose":
        raise StackError(f"SERVER={name} needs containers", hint="use RUNTIME=compose", exit_code=2)
    wanted = root / "servers" / name / "requirements.txt"
    if not wanted.exists():
        return []
    target = root / ".run" / ".servers" / name
    stamp = target / wanted.name
    if not stamp.exists() or stamp.read_bytes() != wanted.read_bytes():
        click.echo(f"Installing {name} into {target.relative_to(root)}")
        shutil.rmtree(target, ignore_errors=True)
        argv = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--no-deps", "--require-hashes"]
        answer = subprocess.run([*argv, "--target", str(target), "--requirement", str(wanted)], capture_output=True, text=True, check=False)
        if answer.returncode:
            details = last_lines(answer.stderr)
            raise StackError(f"SERVER={name} cannot be installed here", hint="it is there with RUNTIME=compose", details=details)
        shutil.copy(wanted, stamp)
    return [target]
