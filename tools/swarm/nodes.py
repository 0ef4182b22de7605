"""Three nodes on this machine, for trying: Docker engines in containers, and a registry that gives them the images."""

import secrets
import subprocess
from collections.abc import Callable, Mapping

from tools.stack import REPOSITORY, open_stack
from tools.stack.base import StackError, last_lines
from tools.stack.compose import ComposeStack, docker
from tools.stack.waiting import ready_path, wait_for_answer
from tools.swarm.deploy import Manager, deploy, model_of, with_swarm

FILE = REPOSITORY / "compose/swarm/nodes.yaml"
COUNT = 3
COSTS = "Three Docker engines in containers, with root's rights on this machine, and a registry: about 1 GB of memory and 4 GB of disk"
REGISTRY = "registry:5000"  # as the nodes call it
ANSWER_S = 60


class Nodes:
    def __init__(self, name: str, settings: Mapping[str, str]) -> None:
        self.name = f"{name}-nodes"
        self.stack_name = name
        self.settings = dict(settings)
        subnet = settings.get("SWARM_SUBNET") or "10.85.54"
        self.addresses = [f"{subnet}.{10 + number}" for number in range(1, COUNT + 1)]

    @property
    def urls(self) -> list[str]:
        """Where the gateways answer."""
        return [f"http://{address}:{self.settings.get('GATEWAY_PORT') or 8080}" for address in self.addresses]

    def container(self, number: int) -> str:
        """The container that is node `number` (from 1)."""
        return f"{self.name}-node-{number}-1"

    def manager(self, number: int = 1) -> Manager:
        return Manager(["docker", "exec", "--interactive", self.container(number), "docker"])

    def compose(self, *arguments: str) -> None:
        """Run `docker compose` on the nodes themselves."""
        command = ["docker", "compose", "--project-name", self.name, "--file", str(FILE), *arguments]
        answer = subprocess.run(command, env=self.settings, capture_output=True, text=True, check=False)
        if answer.returncode:
            raise StackError(f"docker compose {arguments[0]} of the nodes failed", details=last_lines(answer.stderr))

    def up(self, say: Callable[[str], None]) -> None:
        """Make them, or what is missing of them, and deploy the project as it is now."""
        say(f"{COSTS}; `make swarm-down` takes it all away.")
        self.compose("build", "--quiet")
        self.compose("up", "--detach", "--wait")
        self._join()
        say("Building the images, and pushing them to the registry ...")
        stack = self.stack(self._images())
        deploy(self.manager(), stack, say)
        for url in self.urls:
            wait_for_answer(url + ready_path(stack.settings), stack.settings, ANSWER_S)
        say(f"Ready: {', '.join(self.urls)}. A manager: docker exec {self.container(1)} docker service ls")

    def down(self) -> None:
        """Take them away, with their volumes, their image, and all that ran on them."""
        self.compose("down", "--volumes", "--rmi", "all", "--timeout", "1")

    def stack(self, more: Mapping[str, str] | None = None) -> ComposeStack:
        """Return the project as it is deployed to them."""
        names = " ".join(["localhost 127.0.0.1 [::1]", *self.addresses])
        settings = {"SERVER_NAMES": names, **self.settings, **(more or {})}
        settings["COMPOSE_FILE"] = with_swarm(self.settings.get("COMPOSE_FILE", ""))
        found = open_stack("compose", name=self.stack_name, env=settings)
        assert isinstance(found, ComposeStack)  # noqa: S101 - it was asked for
        return found

    def _join(self) -> None:
        managers = [self.manager(number) for number in range(1, COUNT + 1)]
        first, *others = managers
        if first.docker("info", "--format", "{{.Swarm.LocalNodeState}}") == "inactive":
            first.docker("swarm", "init", "--advertise-addr", self.addresses[0])
            for name in ("secret_key", "database_password"):
                first.docker("secret", "create", name, "-", given=secrets.token_urlsafe(48))
            first.docker("node", "update", "--label-add", "database=true", "node-1")
        for manager, address in zip(others, self.addresses[1:], strict=True):
            if manager.docker("info", "--format", "{{.Swarm.LocalNodeState}}") == "inactive":
                token = first.docker("swarm", "join-token", "--quiet", "manager")
                manager.docker("swarm", "join", "--advertise-addr", address, "--token", token, f"{self.addresses[0]}:2377")

    def _images(self) -> dict[str, str]:
        """Build the images and push them; return the settings with their names in the registry."""
        stack = self.stack()
        stack.require("docker compose build failed", "build", "--quiet")
        services = model_of(stack)["services"]
        images = {name: service["image"] for name, service in services.items() if service.get("build") or name == "database"}
        return {f"{name.upper().replace('-', '_')}_IMAGE": self.push(image, name) for name, image in images.items()}

    def push(self, image: str, name: str) -> str:
        """Bring an image into the registry; return its name there. Another content has another name."""
        port = docker("port", f"{self.name}-registry-1", "5000/tcp").splitlines()[0].rpartition(":")[2]
        tag = f"{name}:{docker('image', 'inspect', '--format', '{{.Id}}', image).partition(':')[2][:12]}"
        local = f"127.0.0.1:{port}/{tag}"
        docker("tag", image, local)
        try:
            docker("push", "--quiet", local)
        finally:
            docker("image", "rm", "--no-prune", local)
        return f"{REGISTRY}/{tag}"
