"""The secrets of a running stack stand in their files and nowhere else: not in images, environments, logs or answers."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.surgery import docker
from tools.stack import Stack

# The stack of tests/hardening: one start for both.
pytestmark = [pytest.mark.runtimes("compose"), pytest.mark.stack_env(LAB_ENABLED="1")]

SERVICES = ("gateway", "app", "database", "downstream")
ENVIRONMENTS = "for file in /proc/[0-9]*/environ; do tr '\\0' '\\n' < $file; done 2>/dev/null; true"
PATHS = (
    "/",
    "/about",
    "/api/entries",
    "/lab/process",
    "/lab/lifecycle",
    "/lab/context?ms=1",
    "/no-such-page",
    "/api/no-such",
    "/openapi.json",
)
CHUNK = 1 << 20


@pytest.fixture
def secrets(stack: Stack) -> list[bytes]:
    files = ("/run/secrets/app/secret_key", "/run/secrets/database/database_password")
    values = [stack.exec("app", ["cat", path]).stdout.strip().encode() for path in files]
    assert all(len(value) >= 32 for value in values)
    return values


def holds(image: str, secrets: list[bytes]) -> bool:
    """Whether the image, with all its layers and its configuration, has one of these bytes in it."""
    longest = max(map(len, secrets))
    with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saving:
        assert saving.stdout
        tail = b""
        found = False
        while chunk := saving.stdout.read(CHUNK):
            found = found or any(secret in tail + chunk for secret in secrets)
            tail = chunk[-longest:]
    assert saving.returncode == 0
    return found


def containers(stack: Stack) -> list[str]:
    return docker("ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={stack.name}").split()


def test_no_image_holds_one(stack: Stack, secrets: list[bytes]) -> None:
    images = {json.loads(docker("inspect", container))[0]["Image"] for container in containers(stack)}

    assert len(images) >= 3
    assert [image for image in images if holds(image, secrets)] == []
    assert not any(secret.decode() in docker("history", "--no-trunc", image) for image in images for secret in secrets)


@contextmanager
def careless_image(stack: Stack, secret: bytes) -> Iterator[str]:
    """The app's image as it would be with a secret copied into it and removed in the next layer."""
    app = json.loads(docker("inspect", containers(stack)[0]))[0]["Image"]
    image = f"{stack.name}-careless"
    first = docker("run", "--detach", "--user", "0", "--entrypoint", "sh", app, "-c", f"echo {secret.decode()} > /planted").strip()
    docker("wait", first)
    docker("commit", first, image)
    try:
        yield image
    finally:
        docker("rm", "--force", first)
        docker("image", "rm", "--force", image)


def test_one_in_an_image_would_be_found(stack: Stack, secrets: list[bytes]) -> None:
    with careless_image(stack, secrets[0]) as image:
        assert holds(image, secrets)


@pytest.mark.parametrize("service", SERVICES)
def test_no_process_has_one_in_its_environment(stack: Stack, secrets: list[bytes], service: str) -> None:
    seen = stack.exec(service, ["sh", "-c", ENVIRONMENTS]).stdout

    assert "PATH=" in seen
    assert [secret for secret in secrets if secret.decode() in seen] == []


def test_the_engine_does_not_know_them(stack: Stack, secrets: list[bytes]) -> None:
    told = docker("inspect", *containers(stack))

    assert [secret for secret in secrets if secret.decode() in told] == []


def test_no_log_and_no_answer_tells_one(stack: Stack, secrets: list[bytes], client: httpx.Client) -> None:
    answers = b"".join(repr(answer.headers).encode() + answer.content for answer in map(client.get, PATHS))
    answers += client.post("/api/entries", content=b"{", headers={"Content-Type": "application/json"}).content
    written = stack.logs().encode()

    assert written
    assert [secret for secret in secrets if secret in answers or secret in written] == []


def test_one_in_an_environment_would_be_found(stack: Stack) -> None:
    image = json.loads(docker("inspect", containers(stack)[0]))[0]["Image"]
    seen = docker(
        "run", "--rm", "--network", "none", "--env", "SECRET_KEY=planted-in-here", "--entrypoint", "sh", image, "-c", ENVIRONMENTS
    )

    assert "planted-in-here" in seen
