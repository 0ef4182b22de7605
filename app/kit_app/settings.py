"""The settings: from the environment, and from the files that NAME_FILE points at. A wrong one is named before the first request."""

import logging
import os
import sys
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from kit_flask.proxy import Network


class SettingsError(SystemExit):
    """A setting is missing or wrong. 4 is gunicorn's APP_LOAD_ERROR: it stops, where it would start workers over and over."""

    def __init__(self, message: str) -> None:
        print(message, file=sys.stderr, flush=True)
        super().__init__(message)
        self.code = 4


def _networks(value: object) -> list[Network]:
    networks = [ip_network(part.strip()) for part in str(value).split(",") if part.strip()]
    if everything := [network for network in networks if network.prefixlen == 0]:
        raise ValueError(f"{everything[0]} is the whole Internet; name the gateway's addresses")
    return networks


def _url(value: object) -> URL:
    try:
        url = make_url(str(value))
    except (ArgumentError, ValueError):
        url = make_url("unknown://")
    if url.drivername not in {"postgresql", "postgres", "postgresql+psycopg", "sqlite"}:
        raise ValueError("must look like postgresql://user@host/name or sqlite:////absolute/path.db")
    if url.drivername != "sqlite":
        return url.set(drivername="postgresql+psycopg")
    if url.database in {None, "", ":memory:"}:
        raise ValueError("in memory each worker would have a database of its own; name a file: sqlite:////absolute/path.db")
    return url


def _content(path: object) -> str:
    try:
        return Path(str(path)).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text") from None


# Shorter keys can be guessed: a signed session is worth what its key is worth.
_Key = Annotated[SecretStr, Field(min_length=16)]


class Settings(BaseModel):
    """What the environment may say. Names are those of the variables, in lower case."""

    # The input is hidden in errors: it may hold a password.
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True, arbitrary_types_allowed=True)

    app_env: Literal["production", "development"] = "production"
    secret_key: _Key | None = None
    secret_key_file: Annotated[_Key, BeforeValidator(_content)] | None = None
    secret_key_fallbacks_file: Annotated[SecretStr, BeforeValidator(_content)] = SecretStr("")  # accepted too, one in each line
    database_url: Annotated[URL, BeforeValidator(_url)] = make_url("sqlite:///guestbook.db")  # in Flask's instance folder
    database_password_file: Annotated[SecretStr, BeforeValidator(_content)] | None = None
    database_pool_size: Annotated[int, Field(ge=1, le=1000)] | None = None
    # Requests that one worker handles at once; gunicorn.conf.py exports it. The default suits `flask run`.
    worker_concurrency: Annotated[int, Field(ge=1)] = 8
    # Bytes of a request body; more is answered with 413. nginx has the same limit and answers first.
    max_content_length: Annotated[int, Field(ge=1024)] = 10 * 1024 * 1024
    # Peers whose X-Forwarded-* header fields are trusted; gunicorn.conf.py exports it.
    forwarded_allow_ips: Annotated[list[Network], BeforeValidator(_networks)] = _networks("127.0.0.1,::1")
    log_format: Literal["auto", "json", "text"] = "auto"
    # Compiled static files (flask digest compile); not set: the sources, under their plain names.
    static_root: Path | None = None
    lab_enabled: bool = False

    @property
    def secret(self) -> str:
        """The key that signs sessions."""
        if key := self.secret_key or self.secret_key_file:
            return key.get_secret_value()
        if self.app_env == "production":
            raise SettingsError("SECRET_KEY or SECRET_KEY_FILE must be set in production: it signs the sessions")
        logging.getLogger(__name__).warning("no SECRET_KEY: a publicly known one signs the sessions")
        return "publicly known: for development only"

    @property
    def database(self) -> URL:
        """Where the database is, with its password."""
        password = self.database_password_file
        return self.database_url.set(password=password.get_secret_value()) if password else self.database_url


def load_settings(given: Mapping[str, object]) -> Settings:
    """Take the settings out of the environment and out of `given`, which wins; an empty value counts as not set."""
    values = {name.upper(): value for name, value in {**os.environ, **given}.items() if value != ""}
    if (beside := Path(f"{values.get('SECRET_KEY_FILE', '')}_fallbacks")).is_file():
        values.setdefault("SECRET_KEY_FALLBACKS_FILE", beside)
    try:
        return Settings.model_validate({name: values[name.upper()] for name in Settings.model_fields if name.upper() in values})
    except ValidationError as error:
        lines = [f"{str(found['loc'][0]).upper()}: {found['msg'].removeprefix('Value error, ')}" for found in error.errors()]
        raise SettingsError("\n".join(lines)) from None
