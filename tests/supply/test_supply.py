"""The tools of supply/: a list of what is in an image, and a loud no when an image is not what was released."""

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from subprocess import CompletedProcess

import pytest

ROOT = Path(__file__).resolve().parents[2]

Drift = Callable[[str], CompletedProcess[str]]


@pytest.fixture
def image(gateway_image: str) -> str:
    return gateway_image


def run(*command: str, env: Mapping[str, str] | None = None) -> CompletedProcess[str]:
    return subprocess.run(command, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False)


@pytest.fixture
def drift(image: str, tmp_path: Path) -> Drift:
    """Return a function that runs tools/supply/drift on the gateway's image, with lists of the test's own."""
    return lambda what: run(str(ROOT / "tools" / "supply" / "drift"), what, image, env={"RELEASED": str(tmp_path)})


@pytest.mark.runtimes("compose")
def test_the_list_names_what_the_gateway_consists_of(image: str) -> None:
    lines = run(str(ROOT / "tools" / "supply" / "packages"), image).stdout.splitlines()
    names = {line.split("\t")[0]: line.split("\t") for line in lines}

    assert {"nginx", "libssl3t64", "openssl"} <= names.keys()
    assert names["nginx"][1].startswith("1.30.")
    assert all(len(fields) == 4 for fields in names.values())


@pytest.mark.runtimes("compose")
def test_an_image_with_other_packages_than_released_fails_loudly(drift: Drift, tmp_path: Path) -> None:
    missing = drift("check")
    written = drift("write")
    same = drift("check")
    (released,) = tmp_path.glob("*.tsv")
    released.write_text(released.read_text().replace("\nnginx\t1.30.", "\nnginx\t1.29."))
    other = drift("check")

    assert (missing.returncode, written.returncode, same.returncode, other.returncode) == (2, 0, 0, 1)
    assert "is missing; write it with the release" in missing.stderr
    assert same.stderr == ""
    first, second = other.stderr.splitlines()
    assert "released nginx\t1.29." in first
    assert "built    nginx\t1.30." in second


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


@pytest.mark.parametrize("arguments", [(), ("other",), ("check",)])
def test_wrong_use_of_drift(arguments: tuple[str, ...]) -> None:
    assert run(str(ROOT / "tools" / "supply" / "drift"), *arguments).returncode == 2
