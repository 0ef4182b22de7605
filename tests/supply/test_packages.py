"""PACKAGES=locked: an image has the packages of its lock, or it is not built (nginx/packages)."""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from subprocess import CompletedProcess

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "nginx" / "packages"

Packages = Callable[..., CompletedProcess[str]]


def run(*command: str, text: str | None = None) -> CompletedProcess[str]:
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def lock(gateway_image: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The lock that belongs to the gateway's image."""
    file = tmp_path_factory.mktemp("lock") / "packages.lock"
    done = run(str(PROGRAM), "lock", gateway_image, str(file))
    assert done.returncode == 0, done.stderr
    return file.read_text()


@pytest.fixture
def packages(gateway_image: str, tmp_path: Path) -> Packages:
    """Return a function that runs nginx/packages in a container of the gateway's image, with this text as the lock, without a network."""
    tmp_path.chmod(0o755)
    (tmp_path / "packages").write_bytes(PROGRAM.read_bytes())

    def inside(text: str, *arguments: str, env: Mapping[str, str] | None = None) -> CompletedProcess[str]:
        (tmp_path / "packages.lock").write_text(text)
        variables = [word for name, value in (env or {}).items() for word in ("--env", f"{name}={value}")]
        options = ["--rm", "--network", "none", "--user", "0", "--volume", f"{tmp_path}:/kit:ro", "--entrypoint", "sh", *variables]
        return run("docker", "run", *options, gateway_image, "/kit/packages", *arguments)

    return inside


def version(lock: str, name: str) -> str:
    (found,) = (line.partition("=")[2] for line in lock.splitlines() if line.startswith(f"{name}="))
    return found


@pytest.mark.runtimes("compose")
def test_an_image_holds_its_own_lock(lock: str, packages: Packages) -> None:
    done = packages(lock, "check", "/kit/packages.lock")

    assert (done.returncode, done.stderr) == (0, "")
    assert version(lock, "nginx").startswith("1.30.")
    assert version(lock, "libc6"), "the base's packages are in it, too"


@pytest.mark.runtimes("compose")
def test_each_other_package_is_named(lock: str, packages: Packages) -> None:
    """One that moved, one that is new, one that has gone; and what to do."""
    moved = lock.replace(f"\nnginx={version(lock, 'nginx')}\n", "\nnginx=1.29.0-1\n").replace(f"\njq={version(lock, 'jq')}\n", "\n")
    done = packages(f"{moved}zz-gone=1.0-1\n", "check", "/kit/packages.lock")
    *named, advice = done.stderr.splitlines()

    assert done.returncode == 1
    assert named == [
        f"packages: jq: not locked, installed {version(lock, 'jq')}",
        f"packages: nginx: locked 1.29.0-1, installed {version(lock, 'nginx')}",
        "packages: zz-gone: locked 1.0-1, not installed",
    ]
    assert "make lock-packages" in advice


@pytest.mark.runtimes("compose")
@pytest.mark.parametrize(
    ("text", "env", "says"),
    [
        ("# 2026-11-21 of nothing\n", {"PACKAGES": "locked"}, "names no package"),
        ("nginx\n", {"PACKAGES": "locked"}, "'nginx' is no NAME=VERSION"),
        ("nginx=1.30.6-2\n", {"PACKAGES": "strict"}, "neither current nor locked"),
        ("nginx=1.30.6-2\n", {"DEBIAN_ARCHIVE": "archive.example"}, "is no address of an archive"),
        ("nginx=1.30.6-2\n", {"DEBIAN_ARCHIVE": 'http://a.example/";x'}, "is no address of an archive"),
    ],
)
def test_wrong_use_is_one_line(packages: Packages, text: str, env: Mapping[str, str], says: str) -> None:
    done = packages(text, "install", "/kit/packages.lock", "nginx", env=env)

    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("arguments", [(), ("lock",), ("check",), ("install", "lock"), ("other", "a", "b")])
def test_wrong_arguments(arguments: tuple[str, ...]) -> None:
    done = run(str(PROGRAM), *arguments)

    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)


@pytest.mark.runtimes("compose")
def test_an_image_that_is_not_there_leaves_the_lock(gateway_image: str, tmp_path: Path) -> None:
    assert gateway_image
    (tmp_path / "packages.lock").write_text("old")
    done = run(str(PROGRAM), "lock", "flask-kit-none:none", str(tmp_path / "packages.lock"))

    assert done.returncode == 2
    assert "there is no image flask-kit-none:none" in done.stderr
    assert (tmp_path / "packages.lock").read_text() == "old"


# --- The build itself


@pytest.fixture(scope="module")
def base(gateway_image: str) -> Iterator[str]:
    """A base that has the gateway's packages already, so that a build of it installs nothing: the archive's index is all it fetches."""
    image = f"{gateway_image}-base"
    built = run("docker", "build", "--quiet", "--tag", image, "-", text=f"FROM {gateway_image}\nUSER 0\nENTRYPOINT []\n")
    assert built.returncode == 0, built.stderr
    yield image
    run("docker", "image", "rm", "--no-prune", image)


@pytest.fixture
def build(base: str, tmp_path: Path) -> Packages:
    """Return a function that builds nginx/Dockerfile with this lock, PACKAGES=locked and other arguments."""
    context = tmp_path / "nginx"
    shutil.copytree(ROOT / "nginx", context)

    def docker_build(text: str, *arguments: str) -> CompletedProcess[str]:
        (context / "packages.lock").write_text(text)
        (tmp_path / "app" / "srv" / "static").mkdir(parents=True, exist_ok=True)
        options = ["--build-context", f"app-image={tmp_path / 'app'}", "--build-arg", f"GATEWAY_BASE={base}"]
        return run("docker", "build", "--progress", "plain", *options, "--build-arg", "PACKAGES=locked", *arguments, str(context))

    return docker_build


@pytest.mark.runtimes("compose")
def test_a_build_from_the_right_lock_succeeds(build: Packages, lock: str) -> None:
    done = build(lock)

    assert done.returncode == 0, done.stderr


@pytest.mark.runtimes("compose")
def test_a_build_from_a_lock_that_the_archive_has_left_behind_fails(build: Packages, lock: str) -> None:
    """The twin: what moved is named, with what there is and the command that accepts it."""
    done = build(lock.replace(f"\nmodsecurity-crs={version(lock, 'modsecurity-crs')}\n", "\nmodsecurity-crs=3.0.0-1\n"))

    assert done.returncode != 0
    assert "packages: modsecurity-crs: locked 3.0.0-1, to be had 3." in done.stderr
    assert "make lock-packages" in done.stderr


@pytest.mark.runtimes("compose")
def test_another_archive_is_the_only_one_asked(build: Packages, lock: str) -> None:
    done = build(lock, "--build-arg", "DEBIAN_ARCHIVE=http://127.0.0.1:9/archive/20200101T000000Z")

    assert done.returncode != 0
    assert "http://127.0.0.1:9/archive/20200101T000000Z" in done.stderr
    assert not re.search(r" (?:Get|Hit):\d", done.stderr)
