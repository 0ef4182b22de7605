"""Somebody else's application with the kit copied into it, run by plain Compose commands."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess

import httpx
from playwright.sync_api import Page

from tools.stack.compose import ComposeStack
from tools.stack.machine import free_ports
from tools.stack.rollout import Rollout, Wish

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# Without the names that the other tests give their images: a release would build an application of somebody else's under them.
ENVIRONMENT = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}


class Project:
    """The folder of an application, into which `make eject` has copied the kit."""

    def __init__(self, folder: Path, module: str, settings: Mapping[str, str], overlays: Sequence[str]) -> None:
        self.folder, self.port = folder, free_ports(1)[0]
        command: list[str | Path] = [
            sys.executable,
            "-I",
            ROOT / "tools" / "eject.py",
            folder,
            module,
            *(f"--with={name}" for name in ("waf", "package-static", *overlays)),
        ]
        subprocess.run(command, check=True, capture_output=True)
        self.name = f"kit-{folder.name.replace('_', '-')}-{os.getpid()}"
        with (folder / ".env").open("a") as file:
            own = {**settings, "COMPOSE_PROJECT_NAME": self.name, "GATEWAY_PORT": str(self.port)}
            file.writelines(f"{key}='{value}'\n" for key, value in own.items())

    @classmethod
    def of(cls, name: str, folder: Path, module: str, settings: Mapping[str, str], *overlays: str) -> "Project":
        """Copy an application of this folder, so that nothing is written beside it."""
        ignored = shutil.ignore_patterns("__pycache__", "test_*.py")
        return cls(Path(shutil.copytree(HERE / name, folder / name, ignore=ignored)), module, settings, overlays)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def compose(self, *arguments: str) -> CompletedProcess[str]:
        """Run plain Compose."""
        command = ["docker", "compose", *arguments]
        return subprocess.run(command, cwd=self.folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)

    @contextmanager
    def up(self) -> Iterator[None]:
        """Build and start it; on failure, then and later, with the end of the logs."""
        try:
            up = self.compose("up", "--build", "--wait")
            assert up.returncode == 0, up.stdout[-3000:] + up.stderr[-3000:]
            yield
        except BaseException:
            print(self.compose("logs", "--tail", "60").stdout)
            raise
        finally:
            self.down()

    def down(self) -> None:
        """Remove everything of it but the images of others (PostgreSQL's)."""
        self.compose("down", "--volumes", "--remove-orphans")
        own = ["docker", "images", "--filter", f"reference={self.name}-*", "--format", "{{.Repository}}:{{.Tag}}"]
        images = subprocess.run(own, capture_output=True, text=True, check=True).stdout.split()
        subprocess.run(["docker", "image", "rm", *images], capture_output=True, check=False)

    def inside(self) -> str:
        """Return the command that starts a program in the gateway's network, where it listens on port 8080.

        For Chromium: it ends all requests whenever an interface of its network changes, and on this machine each container that starts
        is such a change.
        """
        container = self.compose("ps", "--quiet", "gateway").stdout.strip()
        template = ["--format", "{{.State.Pid}}"]
        answer = subprocess.run(["docker", "inspect", *template, container], capture_output=True, text=True, check=True)
        return f"nsenter --net --target {answer.stdout.strip()}"

    def release(self) -> None:
        """Replace the app's containers."""
        Rollout(ComposeStack(self.name, root=self.folder, settings=ENVIRONMENT), Wish()).run()

    def release_in_use(self) -> list[str]:
        """Replace the app's containers while two clients ask over connections that they keep; return what failed."""
        failed: list[str] = []
        over = threading.Event()

        def ask() -> None:
            with httpx.Client(base_url=self.url, timeout=60) as client:
                while not over.wait(0.1):
                    try:
                        status = client.get("/healthz?passes=the-waf").status_code
                    except httpx.TransportError as error:
                        failed.append(repr(error))
                    else:
                        failed.extend([str(status)] if status >= 400 else [])

        clients = [threading.Thread(target=ask) for _ in range(2)]
        for one in clients:
            one.start()
        try:
            self.release()
        finally:
            over.set()
            for one in clients:
                one.join()
        return failed

    def refused(self) -> list[str]:
        """What the WAF has refused so far, a line of its log each."""
        return [line for line in self.compose("logs", "--no-log-prefix", "waf").stdout.splitlines() if '"rules"' in line]


def watch(page: Page) -> list[str]:
    """Return a list that fills with what goes wrong on a page: errors in the console, exceptions, answers from 400 on.

    Not counted: the icon that browsers ask for and these applications lack.
    """
    troubles: list[str] = []

    def note(trouble: str) -> None:
        if "/favicon.ico" not in trouble:
            troubles.append(trouble)

    page.on("console", lambda message: note(f"{message.text} {message.location}") if message.type == "error" else None)
    page.on("pageerror", lambda error: note(str(error)))
    page.on("response", lambda got: note(f"{got.status} {got.url}") if got.status >= 400 else None)
    return troubles
