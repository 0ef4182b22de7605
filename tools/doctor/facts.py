"""Everything that is known about one stack: as its files say, or as its containers run."""

import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tools.doctor import application, compose, nginx
from tools.doctor.application import CONF, Application, assigned_lines
from tools.doctor.compose import Service, Services, docker
from tools.doctor.nginx import Nginx
from tools.doctor.values import CannotRead, Environment, Missing, NotKnown, Origin, Setting, need, variable
from tools.stack.base import StackError, other_server, read_settings

# What an image sets for its own file system does not hold on this machine; the network's name does not resolve here.
OF_THE_IMAGE = frozenset({"PATH", "HOME", "TMPDIR", "PYTHONPATH", "STATIC_ROOT", "GATEWAY_NETWORK_ALIAS"})
POSTGRES_CONNECTIONS, POSTGRES_RESERVED = 100, 3
DOCKER_DNS = "127.0.0.11"


class Facts(NamedTuple):
    """`waf` is Missing where the gateway passes to the app; `database`: most connections, and those for administrators."""

    services: Services | Missing
    gateway: Nginx | Missing
    waf: Nginx | Missing
    application: Application | Missing
    database: tuple[Setting, Setting] | Missing

    def chain(self) -> Iterator[tuple[str, Nginx]]:
        """Yield the nginx servers that a request passes, by the name of their service."""
        yield "gateway", need(self.gateway)
        if need(self.gateway).passes_to("waf"):
            yield "waf", need(self.waf)

    def service(self, name: str) -> Service:
        return need(self.services).get(name)


def from_files(project: Path, services: Services | Missing) -> Facts:
    """Say what would run if the project were started now."""
    with TemporaryDirectory(prefix="kit-doctor-") as name:
        folder = Path(name).resolve()
        gateway = _nginx_of("nginx", "gateway", project, services, folder)
        waf = _nginx_of("waf", "waf", project, services, folder) if gateway.passes_to("waf") else Missing("the WAF is off")
        return Facts(services, gateway, waf, _application(project, services, folder), _database(services))


def _given(project: Path, services: Services | Missing, name: str) -> tuple[Environment, float | None]:
    """What Compose gives a service, and its limit of CPUs; without Compose, `.env` and the environment."""
    if isinstance(services, Services) and name in services.all:
        return services.get(name).environment, services.get(name).cpus
    given = {key: variable(key, value, Origin("the environment")) for key, value in os.environ.items()}
    return {**compose.dotenv(project), **given}, None


def _nginx_of(image: str, name: str, project: Path, services: Services | Missing, folder: Path) -> Nginx:
    environment, cpus = _given(project, services, name)
    of_the_container = {"NGINX_LOCAL_RESOLVERS": DOCKER_DNS, "NGINX_WORKER_PROCESSES": str(math.ceil(cpus or 1))}
    settings = {key: variable(key, value, Origin("the container")) for key, value in of_the_container.items()}
    given = {key: setting for key, setting in environment.items() if key not in OF_THE_IMAGE}
    return Nginx(nginx.from_files(project, image, {**settings, **given}, folder), environment)


def _application(project: Path, services: Services | Missing, folder: Path) -> Application | Missing:
    if not (project / CONF).is_file():
        raise CannotRead(f"{project}: this is no project with the kit's files, it has no {CONF}")
    try:
        if server := other_server(read_settings(project, None), project):
            return Missing(f"SERVER={server} runs in gunicorn's place")
    except StackError as error:
        raise CannotRead(f"{error.message}; {error.hint}") from None
    environment, cpus = _given(project, services, "app")
    base = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    given = {name: setting.value for name, setting in environment.items() if name not in OF_THE_IMAGE}
    order = {"argv": ["--config", str(project / CONF)], "folder": str(project), "ask": False, "cpus": cpus}
    order["lines"] = assigned_lines((project / CONF).read_text())
    cwd = project / "app" if (project / "app").is_dir() else project
    env = application.stand_ins({**base, **given}, folder)
    return application.ask([sys.executable], order, CONF, environment=environment, cwd=cwd, env=env)


def _database(services: Services | Missing) -> tuple[Setting, Setting] | Missing:
    """What the Compose file tells PostgreSQL, or PostgreSQL's own defaults."""
    try:
        option = need(services).get("database").command_option
    except NotKnown as reason:
        return Missing(str(reason))
    return option("max_connections", POSTGRES_CONNECTIONS), option("superuser_reserved_connections", POSTGRES_RESERVED)


# --- What runs


def from_containers(services: Services) -> Facts:
    """Ask the running containers; a layer that cannot be asked is missing, with the reason."""
    asked: Application | Missing = Missing("there is no service app")
    try:
        asked = _running_application(services.get("app"))
        database: tuple[Setting, Setting] | Missing = need(asked).database
    except (NotKnown, CannotRead) as reason:
        asked, database = asked if isinstance(reason, NotKnown) else Missing(str(reason)), Missing(str(reason))
    return Facts(services, _running_nginx(services, "gateway"), _running_nginx(services, "waf"), asked, database)


def _running_nginx(services: Services, name: str) -> Nginx | Missing:
    if name not in services.all:
        return Missing(f"{name} does not run")
    service, container = services.get(name), services.get(name).at().place
    dump = docker("exec", container, "nginx", "-T")
    if dump.returncode:
        return Missing(f"{container} does not print its configuration (nginx -T)")
    with TemporaryDirectory(prefix="kit-doctor-") as folder:
        try:
            return Nginx(nginx.from_dump(dump.stdout, container, Path(folder).resolve()), service.environment)
        except CannotRead as error:
            return Missing(str(error))


def _running_application(service: Service) -> Application | Missing:
    container, command = service.at().place, list(service.model["command"] or ())
    if "gunicorn" not in command:
        return Missing(f"{container} does not run gunicorn")
    order = {"argv": command[command.index("gunicorn") + 1 :], "folder": "", "ask": True, "cpus": None}
    return application.ask(["docker", "exec", "-i", container, "python"], order, container, environment=service.environment)
