"""Bring the project onto a Swarm: check, migrate, deploy, and wait until the engine has it at strength or has taken it back."""

import json
import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.stack.base import StackError, last_lines
from tools.stack.compose import ComposeStack
from tools.stack.waiting import wait_until
from tools.swarm.stack_file import JOBS, Model, losses, services_of, stack_file

STRENGTH_S = 420  # a container that never gets healthy is given up after 90 s, one that hangs after 285 s (healthcheck), and rolled back
MIGRATION_S = 3600
POLL_S = 0.5
ANOTHER_NODE_S = 10  # a node that cannot start a job, for want of its image, rejects it, and the engine tries another one
# What a task's failure shows of its cause: attempts of one deployment, of a service that has nothing to be rolled back to.
ATTEMPTS = 3
_LABEL = re.compile(r"node\.labels\.([\w.-]+)\s*==\s*(\S+)")
_IN_REGISTRY = re.compile(r"[^/]*[.:][^/]*/|localhost/")


class Manager:
    """The docker command of a manager: this shell's, or one that is run in a node's container."""

    def __init__(self, command: Sequence[str] = ("docker",)) -> None:
        self._command = list(command)

    def ask(self, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run docker; never raises for its exit code."""
        return subprocess.run([*self._command, *arguments], input=given, capture_output=True, text=True, check=False)

    def docker(self, *arguments: str, given: str = "") -> str:
        """Return what docker prints; StackError, with its last lines, when it fails."""
        answer = self.ask(*arguments, given=given)
        if answer.returncode:
            raise StackError(f"docker {' '.join(arguments[:2])} failed", details=last_lines(answer.stderr))
        return answer.stdout.strip()

    def rows(self, *arguments: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.docker(*arguments, "--format", "{{json .}}").splitlines()]

    def inspect(self, kind: str, names: Sequence[str]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.docker(kind, "inspect", *names)) if names else []
        return found


def model_of(stack: ComposeStack) -> Model:
    """Return what Compose makes of the project's files."""
    model: Model = json.loads(stack.require("docker compose refuses the files", "config", "--format", "json", exit_code=2))
    return model


def check(manager: Manager, model: Model) -> None:
    """Raise, before anything is touched, for what the Swarm would leave half done."""
    swarm = json.loads(manager.docker("info", "--format", "{{json .Swarm}}"))
    if swarm["LocalNodeState"] == "inactive":
        raise StackError("this engine is in no Swarm", hint="docker swarm init, or name a manager: DOCKER_HOST=ssh://...", exit_code=2)
    listed = manager.ask("node", "ls", "--quiet")
    if listed.returncode and (swarm["ControlAvailable"] or "leader" in listed.stderr + swarm.get("Error", "")):
        managers = [peer["Addr"].partition(":")[0] for peer in swarm.get("RemoteManagers") or ()]
        named = f"{len(managers) // 2 + 1} of the managers {', '.join(managers)} must answer" if managers else "most managers must answer"
        raise StackError(f"the Swarm has no quorum: {named}", hint="start those that are down, or docker swarm init --force-new-cluster")
    if listed.returncode:
        raise StackError("this node is no manager of its Swarm", hint="name one: DOCKER_HOST=ssh://...", exit_code=2)
    nodes = manager.inspect("node", listed.stdout.split())
    for name, service in services_of(model).items():
        for words in (service["deploy"].get("placement") or {}).get("constraints") or ():
            _check_label(name, words, nodes)
        if len(nodes) > 1 and service.get("build") and not _IN_REGISTRY.match(service["image"]):
            message = f"{name}: the image {service['image']} is on one machine alone, and the nodes are {len(nodes)}"
            raise StackError(message, hint=f"push it, and write its name into .env: {name.upper()}_IMAGE=registry/{name}:1", exit_code=2)
    have = {row["Name"] for row in manager.rows("secret", "ls")}
    for name, secret in (model.get("secrets") or {}).items():
        if secret.get("external") and secret["name"] not in have:
            users = [user for user, about in services_of(model).items() if name in {one["source"] for one in about.get("secrets") or ()}]
            hint = f"openssl rand -hex 32 | docker secret create {secret['name']} -"
            raise StackError(f"the Swarm has no secret {secret['name']}, which {', '.join(users)} read", hint=hint, exit_code=2)


def _check_label(service: str, words: str, nodes: Sequence[Mapping[str, Any]]) -> None:
    if not (found := _LABEL.fullmatch(words)):
        return
    label, value = found.groups()
    having = [node for node in nodes if node["Spec"]["Labels"].get(label) == value]
    if not having:
        hint = f"docker node update --label-add {label}={value} NODE, one of {', '.join(map(_name, nodes))}"
        raise StackError(f"no node has the label {label}={value}, and {service} runs on such a node alone", hint=hint, exit_code=2)
    if not [node for node in having if (node["Status"]["State"], node["Spec"]["Availability"]) == ("ready", "active")]:
        states = ", ".join(f"{_name(node)} is {node['Status']['State']}, {node['Spec']['Availability']}" for node in having)
        raise StackError(f"no node with the label {label}={value} can take {service}: {states}", hint="bring one of them back")


def _name(node: Mapping[str, Any]) -> str:
    return str(node["Description"]["Hostname"])


def deploy(manager: Manager, stack: ComposeStack, say: Callable[[str], None]) -> None:
    """Bring a project onto the Swarm; returns when everything runs at strength."""
    model = model_of(stack)
    for loss in losses(model):
        say(f"Not under Swarm: {loss.service} {loss.key} {loss.value}: {loss.instead}")
    check(manager, model)
    file, configs = stack_file(model)
    have = {row["Name"] for row in manager.rows("config", "ls")}
    for name, path in configs.items():
        if name not in have:
            manager.docker("config", "create", name, "-", given=path.read_text())
    jobs = {name: service for name, service in file["services"].items() if service["deploy"].get("mode") in JOBS}
    lasting = {name: service for name, service in file["services"].items() if name not in jobs}
    for name, job in jobs.items():
        before = {other: lasting[other] for other in model["services"][name].get("depends_on") or () if other in lasting}
        _run_job(manager, stack.name, name, {**file, "services": {**before, name: job}})
    _put(manager, stack.name, {**file, "services": lasting}, "--prune")


def _put(manager: Manager, stack: str, file: Mapping[str, Any], *options: str) -> None:
    known = {task["ID"] for task in _tasks(manager, stack)}
    updates = {service["Spec"]["Name"]: service.get("UpdateStatus", {}).get("StartedAt") for service in _services(manager, stack)}
    _stack_deploy(manager, stack, file, *options)
    names = [f"{stack}_{name}" for name in file["services"]]
    until_s, missing = time.monotonic() + STRENGTH_S, names
    while missing:
        missing = list(_missing(manager, stack, names, known, updates))
        if missing and time.monotonic() > until_s:
            raise _failure(manager, stack, missing[0], f"{missing[0]} is not at strength after {STRENGTH_S} s", known)
        time.sleep(POLL_S)


def _stack_deploy(manager: Manager, stack: str, file: Mapping[str, Any], *options: str) -> None:
    answer = manager.ask(
        *("stack", "deploy", "--detach=true", "--with-registry-auth", *options, "--compose-file", "-", stack), given=json.dumps(file)
    )
    if answer.returncode:
        raise StackError("docker stack deploy refuses the stack", details=last_lines(answer.stderr), exit_code=2)


def _missing(manager: Manager, stack: str, names: Sequence[str], known: set[str], updates: Mapping[str, str | None]) -> Iterator[str]:
    """Yield the services that are not at strength yet; StackError when one will not get there by itself."""
    present = strength(manager, stack)
    tasks = [task for task in _tasks(manager, stack) if task["ID"] not in known]
    for service in _services(manager, stack):
        name, update = service["Spec"]["Name"], service.get("UpdateStatus", {})
        state = update.get("State", "") if update.get("StartedAt") != updates.get(name) else ""
        if state in {"rollback_completed", "rollback_paused", "paused"}:
            back = "the engine has taken it back, and the old version serves"
            ending = back if state == "rollback_completed" else f"its update is {state}"
            raise _failure(manager, stack, name, f"{name}: {ending}", known)
        if name in names and (present[name][0] != present[name][1] or state in {"updating", "rollback_started"}):
            failed = [task for task in tasks if _service(task) == name and _is(task, "Failed", "Rejected")]
            if len(failed) >= ATTEMPTS and not state:
                raise _failure(manager, stack, name, f"{name} does not start", known)
            yield name


def strength(manager: Manager, stack: str) -> dict[str, tuple[int, int]]:
    """Map each service to how many of its containers run, and how many should; what ran on a node that is lost does not count."""
    wanted = {row["Name"]: int(row["Replicas"].partition(" ")[0].partition("/")[2]) for row in _list(manager, stack)}
    running = Counter(_service(task) for task in _tasks(manager, stack) if task["DesiredState"] == "Running" and _is(task, "Running"))
    return {name: (running[name], count) for name, count in wanted.items()}


def _failure(manager: Manager, stack: str, name: str, message: str, known: set[str]) -> StackError:
    """An error that says of a service what is wrong on which node, and of all others whether they run."""
    tasks = [task for task in _tasks(manager, stack) if task["ID"] not in known and _service(task) == name and task["Error"]]
    said = Counter((task["Error"].strip('"'), task["Node"] or "every node") for task in tasks)
    causes = "; ".join(f"{node}: {error}" for (error, node), _ in said.most_common(2)) or "no new container of it stayed healthy"
    running = ", ".join(f"{other} {count} of {wanted}" for other, (count, wanted) in strength(manager, stack).items())
    logs = last_lines(manager.ask("service", "logs", "--raw", "--tail", "10", name).stdout, 10)
    return StackError(f"{message} ({causes})", hint=f"now run: {running}", details=logs)


def _run_job(manager: Manager, stack: str, job: str, file: Mapping[str, Any]) -> None:
    """Run a service to its end, with those before it; nothing else is touched. It is taken away, so that it runs again next time."""
    name = f"{stack}_{job}"
    manager.ask("service", "rm", name)
    others = {other: service for other, service in file["services"].items() if other != job}
    _put(manager, stack, {**file, "services": others})
    known = {task["ID"] for task in _tasks(manager, stack)}
    _stack_deploy(manager, stack, file)

    going_s = time.monotonic()

    def ended() -> bool:
        tasks = [task for task in _tasks(manager, stack) if task["ID"] not in known and _service(task) == name]
        nonlocal going_s
        if not tasks or not all(_is(task, "Rejected") for task in tasks):
            going_s = time.monotonic()
        if any(_is(task, "Failed") for task in tasks) or time.monotonic() > going_s + ANOTHER_NODE_S:
            raise _failure(manager, stack, name, f"{job} failed, and nothing else was touched", known)
        return any(_is(task, "Complete") for task in tasks)

    try:
        wait_until(ended, MIGRATION_S, f"{job} has not ended", poll_s=POLL_S)
    finally:
        manager.ask("service", "rm", name)


def _list(manager: Manager, stack: str) -> list[dict[str, Any]]:
    return manager.rows("service", "ls", "--filter", f"label=com.docker.stack.namespace={stack}")


def _services(manager: Manager, stack: str) -> list[dict[str, Any]]:
    return manager.inspect("service", [row["ID"] for row in _list(manager, stack)])


def _tasks(manager: Manager, stack: str) -> list[dict[str, Any]]:
    if not _list(manager, stack):
        return []
    return manager.rows("stack", "ps", "--no-trunc", stack)


def _service(task: Mapping[str, Any]) -> str:
    return str(task["Name"]).rpartition(".")[0]


def _is(task: Mapping[str, Any], *states: str) -> bool:
    return task["CurrentState"].split()[0] in states


def with_swarm(files: str) -> str:
    """Return COMPOSE_FILE with compose/swarm.yaml second in it."""
    first, *others = files.split(":") if files else ["docker-compose.yml"]
    return ":".join([first, "compose/swarm.yaml", *(file for file in others if Path(file).name != "swarm.yaml")])
