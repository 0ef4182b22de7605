"""The facts as the files of a kit give them: what would run if it were started now."""

import math
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dotenv import dotenv_values

from tools.doctor import application, certificate, compose, firewall, nginx
from tools.doctor.application import Container, Interpreter
from tools.doctor.facts import (
    APP,
    DATABASE,
    GATEWAY,
    WEB,
    App,
    Certificate,
    Compose,
    Database,
    Environment,
    Facts,
    Gunicorn,
    Missing,
    Nginx,
    Service,
    Waf,
    need,
)
from tools.doctor.units import Version, show_version, version
from tools.doctor.values import CannotRead, NotKnown, Origin, Setting, variable

CONF = "gunicorn.conf.py"
# Where the gateway's container writes its configuration and its temp files, unless NGINX_PREFIX says otherwise.
CONTAINER_PREFIX = "/run/nginx"
# Rendered for this version when no nginx is at hand to say its own.
UNKNOWN_VERSION = "1.30.4"
DOCKER_DNS = "127.0.0.11"
# PostgreSQL's defaults; the Compose file may say otherwise, and the running database knows best.
POSTGRES_CONNECTIONS, POSTGRES_RESERVED = 100, 3
# What an image sets for its own file system does not hold on this machine.
OF_THE_IMAGE = frozenset({"PATH", "HOME", "TMPDIR", "PYTHONPATH", "STATIC_ROOT"})
ANSWER_TIMEOUT_S = 30
# What the local runtime gives its processes when the user does not; it makes the secret at its first start.
LOCAL_DEFAULTS = {
    name: Setting(name, value, value, Origin("the local runtime"), editable=False)
    for name, value in {"APP_ENV": "production", "SECRET_KEY_FILE": "made at start"}.items()
}

Runtime = Literal["compose", "local"]


@dataclass(frozen=True, slots=True)
class Kit:
    """The folder that is judged, and its Compose files in the order in which they are merged."""

    root: Path
    files: tuple[Path, ...]

    @classmethod
    def find(cls, root: Path, files: Sequence[Path] = ()) -> "Kit":
        """CannotRead, in one line, when the folder does not hold a kit."""
        if not root.is_dir():
            raise CannotRead(f"{root}: no such folder")
        chosen = tuple(path.resolve() for path in files) or compose.find_files(root)
        missing = [name for name in ("nginx/nginx.conf", CONF) if not (root / name).is_file()]
        if not chosen:
            missing.insert(0, compose.NAMES[0])
        if missing:
            raise CannotRead(f"{root}: this is not a kit, it has no {', no '.join(missing)}")
        return cls(root.resolve(), chosen)

    def app_folder(self) -> Path:
        return self.root / "app" if (self.root / "app").is_dir() else self.root


def from_files(kit: Kit, project: compose.Project | Missing, runtime: Runtime) -> Facts:
    """Everything that the files say, without looking at anything that runs."""
    services = compose.read(project) if isinstance(project, compose.Project) else project
    if runtime == "local" and not isinstance(project, Missing):
        services = Missing("the local runtime has no containers")
    gateway, app = _service(services, GATEWAY), _service(services, APP)
    gateway_environment = gateway.environment if gateway else _settings(kit)
    app_environment = app.environment if app else _settings(kit)
    gateway_nginx, waf = _nginx(kit, gateway, gateway_environment)
    gunicorn, flask = _application(kit, app, services, app_environment)
    return Facts(
        source="files",
        runtime=runtime,
        nginx=gateway_nginx,
        gunicorn=gunicorn,
        compose=services,
        app=flask,
        database=_database(services),
        waf=waf,
        certificate=_certificate(kit, gateway, gateway_environment),
    )


def _service(services: Compose | Missing, name: str) -> Service | None:
    return services.services.get(name) if isinstance(services, Compose) else None


def _settings(kit: Kit) -> Environment:
    """`.env` and the environment, which is what the local runtime starts its processes with."""
    from_file = {name: value for name, value in dotenv_values(kit.root / ".env").items() if value is not None}
    settings = {name: variable(name, value, Origin(".env")) for name, value in from_file.items()}
    given = {name: variable(name, value, Origin("the environment")) for name, value in os.environ.items()}
    return LOCAL_DEFAULTS | settings | given


def _values(environment: Environment) -> dict[str, str]:
    return {name: setting.value for name, setting in environment.items()}


# --- nginx


def _nginx(kit: Kit, gateway: Service | None, environment: Environment) -> tuple[Nginx, Waf | Missing]:
    found = _nginx_version(gateway)
    with application.temporary_folder() as name:
        folder = Path(name).resolve()
        inputs = _render_inputs(gateway, environment, folder, found)
        nginx.render(kit.root / "nginx", folder / "conf", inputs)
        locate = nginx.locate_source(folder / "conf", kit.root / "nginx", environment.keys())
        tree = nginx.read_tree(folder / "conf" / "nginx.conf", locate=locate)
        waf = firewall.from_tree(tree, firewall.read_file, locate)
        table = folder / "conf" / nginx.TEMP_FILES
        prefix = environment["NGINX_PREFIX"].value if "NGINX_PREFIX" in environment else CONTAINER_PREFIX
        bounds = nginx.read_temp_files(table.read_text(), "nginx/render", (inputs["NGINX_PREFIX"], prefix)) if table.is_file() else ()
    return Nginx(tree, found, environment, bounds), waf


def _render_inputs(gateway: Service | None, environment: Environment, folder: Path, found: Setting[Version] | None) -> dict[str, str]:
    given = {name: value for name, value in _values(environment).items() if name not in OF_THE_IMAGE}
    inputs = {**given, "NGINX_PREFIX": str(folder / "prefix"), "NGINX_VERSION": found.shown if found else UNKNOWN_VERSION}
    if gateway is None:
        inputs |= {"NGINX_RUNTIME": "local", "HEALTH_CHECKS": "off"}
        inputs["STATIC_ROOT"] = str(folder / "static")
        inputs.setdefault("UPSTREAM_SERVERS", "127.0.0.1:8001 127.0.0.1:8002 127.0.0.1:8003")
        return inputs
    if inputs.get("HEALTH_CHECKS") == "off":
        inputs.setdefault("RESOLVER", DOCKER_DNS)
    if gateway.cpus.value:
        inputs.setdefault("NGINX_WORKER_PROCESSES", str(math.ceil(gateway.cpus.value)))
    return inputs


def _nginx_version(gateway: Service | None) -> Setting[Version] | None:
    """The version that somebody names, else that of the image or of this machine."""
    named = os.environ.get("NGINX_VERSION")
    if named:
        return Setting("nginx", version(named), named, Origin("NGINX_VERSION"), editable=False)
    return image_nginx_version(gateway.image) if gateway else local_nginx_version()


def local_nginx_version() -> Setting[Version] | None:
    """The version of the nginx on this machine's PATH, None without one."""
    binary = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin:/opt/homebrew/bin")
    return _said_version([binary, "-v"], binary) if binary else None


def image_nginx_version(image: str) -> Setting[Version] | None:
    """The version of the nginx in an image that the engine has, None when it is not built."""
    inspect = ["docker", "image", "inspect", "--format", "{{.Id}}", image]
    if _run(inspect) is None:
        return None
    argv = ["docker", "run", "--rm", "--network", "none", "--read-only", "--entrypoint", "nginx", image, "-v"]
    return _said_version(argv, f"image {image}")


def _said_version(argv: Sequence[str], place: str) -> Setting[Version] | None:
    said = _run(argv)
    if said is None:
        return None
    number = version(said)
    return Setting("nginx", number, show_version(number), Origin(place), editable=False)


def _run(argv: Sequence[str]) -> str | None:
    """What a command prints, or None when it cannot be run or fails."""
    try:
        answer = subprocess.run(argv, capture_output=True, text=True, timeout=ANSWER_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout + answer.stderr if answer.returncode == 0 else None


def _certificate(kit: Kit, gateway: Service | None, environment: Environment) -> Certificate | Missing:
    if gateway is None:
        return certificate.on_this_machine(kit.root, environment)
    return certificate.in_folder_of_host(kit.root, gateway)


# --- gunicorn and Flask


def _application(
    kit: Kit, app: Service | None, services: Compose | Missing, environment: Environment
) -> tuple[Gunicorn | Missing, App | Missing]:
    given = {name: value for name, value in _values(environment).items() if app is None or name not in OF_THE_IMAGE}
    base = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    with application.temporary_folder() as name:
        folder = Path(name)
        # In the local runtime the database is a file, unless a user says otherwise.
        defaults = {"DATABASE_URL": f"sqlite:///{folder / 'site.db'}"} if app is None else {}
        variables = application.stand_in_files({**base, **defaults, **given}, folder)
        interpreter = Interpreter([sys.executable], kit.app_folder(), variables)
        order = {"argv": _gunicorn_arguments(kit, app), "pretend": _pretended(app, services, folder), "ask": False}
        answer = interpreter.ask(order)
    if isinstance(answer, Missing):
        return answer, answer
    sources = application.Sources(CONF, application.assigned_lines((kit.root / CONF).read_text()), environment)
    return application.gunicorn(answer, sources), application.flask(answer, _module(answer), environment)


def _module(answer: application.Answer) -> str:
    return str(answer.settings["wsgi_app"]["value"])


def _gunicorn_arguments(kit: Kit, app: Service | None) -> list[str]:
    """Take gunicorn's arguments of the app service, with the configuration file of this folder in place of the container's."""
    command = list(app.command) if app else []
    conf = str(kit.root / CONF)
    if "gunicorn" not in command:
        return ["--config", conf]
    arguments = command[command.index("gunicorn") + 1 :]
    return [conf if Path(word).name == CONF else word for word in arguments]


def _pretended(app: Service | None, services: Compose | Missing, folder: Path) -> Mapping[str, object] | None:
    if app is None or not isinstance(services, Compose):
        return None
    subnet = next(iter(services.subnets.get(WEB, ())), None)
    return Container(app.cpus.value, app.aliases, subnet).pretend(folder)


# --- database


def _database(services: Compose | Missing) -> Database | Missing:
    """What the Compose file tells PostgreSQL, or PostgreSQL's own defaults."""
    try:
        service = need(services).service(DATABASE)
    except NotKnown as reason:
        return Missing(str(reason))
    if "postgres" not in service.image and "postgres" not in service.command:
        return Missing(f"the doctor knows the limits of PostgreSQL only, not of {service.image}")
    most = _option(service, "max_connections", POSTGRES_CONNECTIONS)
    reserved = _option(service, "superuser_reserved_connections", POSTGRES_RESERVED)
    return Database(most, reserved)


def _option(service: Service, name: str, default: int) -> Setting[int]:
    for word in service.command:
        key, _, value = word.removeprefix("-c").removeprefix("--").strip().partition("=")
        if key == name and value.isdecimal():
            return Setting(name, int(value), value, service.command_origin)
    return Setting(name, default, str(default), Origin("PostgreSQL's default"), editable=False)
