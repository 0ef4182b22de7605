"""A copy of the kit in a folder of its own, to change a value in and to have the doctor look at."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
COPIED = ("docker-compose.yml", "compose", "gunicorn.conf.py", "gunicorn_hooks", "nginx", "waf", "secrets")


@dataclass(frozen=True)
class Report:
    """What one run of the doctor printed, and its exit code."""

    code: int
    stdout: str
    stderr: str

    def rules(self) -> dict[str, dict[str, Any]]:
        """Map each rule to its finding (--json)."""
        assert self.code in {0, 1}, self.stderr
        return {rule["rule"]: rule for rule in json.loads(self.stdout)["rules"]}

    def with_verdict(self, verdict: str) -> set[str]:
        """Return the ids of the rules that ended so."""
        return {name for name, rule in self.rules().items() if rule["verdict"] == verdict}

    def shown(self, rule: str, source: str = "files") -> dict[str, str]:
        """Map the names of a rule's values to what is shown of them."""
        return {value["name"]: value["shown"] for value in self.rules()[rule][source]["values"]}


class Kit:
    """The kit's files in `root`, without the sample site's code unless it was asked for."""

    def __init__(self, root: Path, *, app: bool) -> None:
        self.root = root
        for name in (*COPIED, *(["app"] if app else ["app/Dockerfile"])):
            source, target = ROOT / name, root / name
            if not source.exists():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace the only match of the regular expression `old`."""
        path = self.root / file
        text, count = re.subn(old, lambda _: new, path.read_text())
        assert count == 1, f"{old!r} matches {count} times in {file}: adapt this test"
        path.write_text(text)

    def doctor(self, *arguments: str, env: Mapping[str, str] | None = None) -> Report:
        """Run the doctor on the files of this copy, with nothing of the tests' own environment."""
        return doctor("--project", str(self.root), "--no-running", *arguments, env=env or {})


def doctor(*arguments: str, env: Mapping[str, str]) -> Report:
    """Run `python -m tools.doctor`; `env` comes over PATH and the like."""
    base = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "DOCKER_HOST") if name in os.environ}
    argv = [sys.executable, "-m", "tools.doctor", *arguments]
    done = subprocess.run(argv, cwd=ROOT, env={**base, **env}, capture_output=True, text=True, timeout=150, check=False)
    return Report(done.returncode, done.stdout, done.stderr)
