"""Read the settings from the environment, and refuse a wrong one by its name before the first request."""

import ipaddress
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import click
from gunicorn.errors import AppImportError
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, HttpUrl, SecretStr, ValidationError, field_validator
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# A pool follows the threads of its worker up to here. A higher concurrency means greenlets: a connection for each
# of gevent's 1000 would exhaust PostgreSQL's 100, so they share a few and queue for them.
MOST_THREADS = 32
# 3 replicas x 2 workers x 8 = 48 connections, and 5 replicas still fit below PostgreSQL's default of 100.
GREENLETS_SHARE = 8
# Shorter keys can be guessed; a signed session is worth what its key is worth.
SHORTEST_SECRET = 16


class SettingsError(click.ClickException, AppImportError, RuntimeError):
    """A setting is missing or wrong; the message names it.

    Each base makes one launcher print the message as one line and stop, where others would show a traceback or
    start workers over and over: click for `flask`, AppImportError for gunicorn, RuntimeError for gunicorn --preload.
    """


def _networks(value: object) -> list[Network]:
    networks = [ipaddress.ip_network(part.strip()) for part in str(value).split(",") if part.strip()]
    for network in networks:
        if network.prefixlen == 0:
            raise ValueError(f"{network} is the whole Internet; name the gateway's addresses")
    return networks


class Settings(BaseModel):
    """What the environment may say. Names are those of the variables, in lower case."""

    # The input is hidden in errors: it may hold a password.
    model_config = ConfigDict(frozen=True, alias_generator=str.upper, hide_input_in_errors=True)

    app_env: Literal["production", "development"] = "production"
    secret_key: SecretStr | None = None
    secret_key_file: Path | None = None
    database_url: str | None = None
    database_password_file: Path | None = None
    database_pool_size: Annotated[int, Field(ge=1, le=1000)] | None = None
    # Requests one worker handles at once; gunicorn.conf.py exports it. The default suits `flask run`.
    worker_concurrency: Annotated[int, Field(ge=1)] = 8
    # Bytes of a request body; more is answered with 413. nginx has the same limit and answers first.
    max_content_length: Annotated[int, Field(ge=1024)] = 10 * 1024 * 1024
    # Peers whose X-Forwarded-* headers are believed. gunicorn.conf.py works it out and exports it.
    forwarded_allow_ips: Annotated[list[Network], BeforeValidator(_networks)] = _networks("127.0.0.1,::1")
    log_format: Literal["auto", "json", "text"] = "auto"
    # Compiled static files (python -m kit_app.staticfiles DIR); not set: the sources, under their plain names.
    static_root: Path | None = None
    lab_enabled: bool = False
    lab_downstream_url: HttpUrl | None = None

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: str) -> str:
        try:
            url = make_url(value)
            backend = url.get_backend_name()
        except (ArgumentError, ValueError):
            backend = ""
        if backend not in ("postgresql", "postgres", "sqlite"):
            raise ValueError("must look like postgresql://user@host/name or sqlite:////absolute/path.db")
        if backend == "sqlite" and url.database in (None, "", ":memory:"):
            raise ValueError("in memory each worker would have a database of its own; name a file: sqlite:////absolute/path.db")
        return value

    @property
    def pool_size(self) -> int:
        """Connections one worker may hold."""
        return self.database_pool_size or self.wanted_pool_size

    @property
    def wanted_pool_size(self) -> int:
        """The smallest pool for which no thread waits for a connection."""
        return self.worker_concurrency if self.worker_concurrency <= MOST_THREADS else GREENLETS_SHARE

    def database(self, instance: Path) -> URL:
        """The database's URL with its driver and password; without DATABASE_URL a SQLite file in `instance`."""
        if self.database_url is None:
            return URL.create("sqlite", database=str(_writable(instance) / "guestbook.db"))
        url = make_url(self.database_url)
        if self.database_password_file:
            url = url.set(password=_read("DATABASE_PASSWORD_FILE", self.database_password_file))
        if url.get_backend_name() != "sqlite":
            url = url.set(drivername="postgresql+psycopg")
        return url

    def secret(self, instance: Path) -> str:
        """The key that signs sessions. Production must be given one; development makes its own and keeps it."""
        if self.secret_key:
            secret = self.secret_key.get_secret_value()
        elif self.secret_key_file:
            secret = _read("SECRET_KEY_FILE", self.secret_key_file)
        elif self.app_env == "production":
            raise SettingsError("SECRET_KEY or SECRET_KEY_FILE must be set in production: it signs the sessions")
        else:
            secret = _kept_secret(_writable(instance) / "secret_key")
        if len(secret) < SHORTEST_SECRET:
            raise SettingsError(f"SECRET_KEY must have at least {SHORTEST_SECRET} characters")
        return secret


def load_settings(environ: Mapping[str, object]) -> Settings:
    """Read the settings out of `environ`; an empty value counts as not set, as Compose passes `${NAME:-}`.

    Raises SettingsError with one line for each wrong setting.
    """
    names = {name.upper() for name in Settings.model_fields}
    given = {name: value for name, value in environ.items() if name in names and value not in ("", None)}
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        raise SettingsError("\n".join(_lines(error))) from None


def _lines(error: ValidationError) -> list[str]:
    return [f"{problem['loc'][0]}: {problem['msg'].removeprefix('Value error, ')}" for problem in error.errors()]


def _read(name: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise SettingsError(f"{name}: cannot read {path}: {reason}") from None


def _writable(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"cannot make {folder}: {error.strerror}; set DATABASE_URL and SECRET_KEY") from None
    return folder


def _kept_secret(path: Path) -> str:
    """Make the secret once; link() is atomic, so of several workers that start at once all read the same one."""
    if not path.exists():
        draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        try:
            draft.touch(mode=0o600)
            draft.write_text(secrets.token_urlsafe(32), encoding="utf-8")
            path.hardlink_to(draft)
        except FileExistsError:
            pass
        except OSError as error:
            raise SettingsError(f"cannot write {path}: {error.strerror}; set SECRET_KEY") from None
        finally:
            draft.unlink(missing_ok=True)
    return _read("SECRET_KEY_FILE", path)
