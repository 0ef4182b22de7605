"""The tools of supply/: a list of what is in an image, and an audit that says so when nothing was compared."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from subprocess import CompletedProcess

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def image(gateway_image: str) -> str:
    return gateway_image


def run(*command: str, env: Mapping[str, str] | None = None) -> CompletedProcess[str]:
    return subprocess.run(command, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False)


@pytest.mark.runtimes("compose")
def test_the_list_names_what_the_gateway_consists_of(image: str) -> None:
    lines = run(str(ROOT / "tools" / "supply" / "packages"), image).stdout.splitlines()
    names = {line.split("\t")[0]: line.split("\t") for line in lines}

    assert {"nginx", "libssl3t64", "openssl"} <= names.keys()
    assert names["nginx"][1].startswith("1.30.")
    assert all(len(fields) == 4 for fields in names.values())


def test_a_service_that_does_not_answer_is_no_clean_bill(tmp_path: Path) -> None:
    """pip-audit ends with 0 where the index knows the packages and not their holes."""
    fake = tmp_path / "uvx"
    fake.write_text("#!/bin/sh\necho 'No known vulnerabilities found, 35 skipped'\necho 'flask could not be audited: flask (3.1.3)'\n")
    fake.chmod(0o755)
    done = run(str(ROOT / "tools" / "supply" / "audit"), env={"PATH": f"{tmp_path}:{os.environ['PATH']}"})

    assert done.returncode == 2
    assert "nothing was compared" in done.stderr


@pytest.mark.parametrize(
    ("says", "ends"), [("No known vulnerabilities found", 0), ("Found 1 known vulnerability in 1 package", 1), ("Connection refused", 2)]
)
def test_the_audit_ends_as_it_found(tmp_path: Path, says: str, ends: int) -> None:
    fake = tmp_path / "uvx"
    fake.write_text(f"#!/bin/sh\necho '{says}'\nexit {min(ends, 1)}\n")
    fake.chmod(0o755)

    assert run(str(ROOT / "tools" / "supply" / "audit"), env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}).returncode == ends
