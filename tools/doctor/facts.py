"""What was read, from where: the frozen records that the gatherers fill and the rules judge."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from tools.doctor.tree import Node
from tools.doctor.units import Version
from tools.doctor.values import NotKnown, Origin, Setting

# Names in the Compose file: the services that the rules speak of, and the network on which gateway and app meet.
GATEWAY, APP, DATABASE, WEB = "gateway", "app", "database", "web"
T = TypeVar("T")
IN_THE_IMAGE = Origin("the image")


@dataclass(frozen=True, slots=True)
class Missing:
    """A layer that was not read, and why: every rule that needs it says so instead of passing."""

    reason: str


Environment = Mapping[str, Setting[str]]


@dataclass(frozen=True, slots=True)
class TempFiles:
    """What the gateway's temp files in `folder` may take: so many files of at most so many bytes."""

    folder: str
    each: Setting[int]
    at_once: int

    @property
    def needed(self) -> int:
        """Bytes when all of them are there."""
        return self.each.value * self.at_once


@dataclass(frozen=True, slots=True)
class Nginx:
    """The complete configuration as nginx sees it, includes resolved; `version` is None when nobody could say."""

    tree: Node
    version: Setting[Version] | None
    environment: Environment
    temp_files: tuple[TempFiles, ...] = ()


@dataclass(frozen=True, slots=True)
class Gunicorn:
    """Every setting after the file, the environment and the command line; `environment` as the workers see it."""

    settings: Mapping[str, Setting[Any]]
    environment: Environment

    def get(self, name: str) -> Setting[Any]:
        try:
            return self.settings[name]
        except KeyError:
            raise NotKnown(f"this gunicorn has no setting {name}") from None


@dataclass(frozen=True, slots=True)
class Pool:
    """Connections that one process opens to its database: kept ones, and how many more under load."""

    size: Setting[int]
    overflow: Setting[int]


@dataclass(frozen=True, slots=True)
class App:
    """The Flask application's own limits; `pool` is None for a database that is a file, or for none."""

    max_content_length: Setting[int | None]
    pool: Pool | Missing


@dataclass(frozen=True, slots=True)
class Database:
    """What the database server allows: all connections, and those that it keeps for its administrators."""

    max_connections: Setting[int]
    reserved: Setting[int]


@dataclass(frozen=True, slots=True)
class Waf:
    """What the web application firewall reads of one request: bytes of a body, of one without files, and values.

    `uploads_apart`: larger forms with files pass it by another way, so `body_limit` refuses none of them.
    """

    body_limit: Setting[int]
    no_files_limit: Setting[int] | None = None
    arguments: Setting[int] | None = None
    uploads_apart: bool = False


@dataclass(frozen=True, slots=True)
class Certificate:
    """The pair that the gateway serves TLS with: why browsers get none or refuse it, and what else is worth a word."""

    file: Setting[str]
    problem: str = ""
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Port:
    """A port of a service that the host publishes; `address` is empty for every address of the host."""

    address: str
    published: str
    target: int
    protocol: str = "tcp"

    def __str__(self) -> str:
        return f"{self.address or '*'}:{self.published}->{self.target}{'/udp' if self.protocol == 'udp' else ''}"


@dataclass(frozen=True, slots=True)
class Service:
    """One service of the Compose file, or one running container of it. Sizes in bytes, times in seconds."""

    name: str
    origin: Origin
    one_shot: bool
    replicas: Setting[int]
    stop_grace: Setting[float]
    ports: Setting[tuple[Port, ...]]
    read_only: Setting[bool]
    cap_drop: Setting[tuple[str, ...]]
    security_opt: Setting[tuple[str, ...]]
    # tcp_tw_reuse of its network; "" when it has the kernel's default.
    port_reuse: Setting[str]
    # "" when root, None when neither the Compose file nor an image at hand says it.
    user: Setting[str | None]
    log_rotation: Setting[bool]
    memory: Setting[int | None]
    cpus: Setting[float | None]
    pids: Setting[int | None]
    healthcheck: Setting[bool]
    # path -> bytes; None for a tmpfs without a size, which may take half of the host's memory.
    tmpfs: Mapping[str, Setting[int | None]]
    # The image's, with the Compose file's over it.
    environment: Environment
    command: tuple[str, ...] = ()
    command_origin: Origin = IN_THE_IMAGE
    image: str = ""
    # Names under which other services find it.
    aliases: tuple[str, ...] = ()
    # Folder in the container -> folder of the host; a volume is on none.
    mounts: Mapping[str, str] = field(default_factory=dict)
    mounts_origin: Origin = IN_THE_IMAGE


@dataclass(frozen=True, slots=True)
class Compose:
    """The services, the subnets of the networks where they are known, and defaults given to secrets."""

    services: Mapping[str, Service]
    subnets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    # Variables that look like secrets and have a value in a committed file; None for containers, which cannot tell.
    secret_defaults: tuple[Setting[str], ...] | None = None

    def service(self, name: str) -> Service:
        try:
            return self.services[name]
        except KeyError:
            raise NotKnown(f"there is no service named {name}") from None


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that is known about one stack: as its files say, or as it runs."""

    source: Literal["files", "running"]
    runtime: Literal["compose", "local"]
    nginx: Nginx | Missing
    gunicorn: Gunicorn | Missing
    compose: Compose | Missing
    app: App | Missing
    database: Database | Missing
    waf: Waf | Missing
    certificate: Certificate | Missing = Missing("nobody looked at the certificate")
    # Files that were changed after the process that reads them was started.
    edited_since: tuple[str, ...] = ()


def need(layer: T | Missing) -> T:
    """The layer, or NotKnown with the reason why it was not read."""
    if isinstance(layer, Missing):
        raise NotKnown(layer.reason)
    return layer
