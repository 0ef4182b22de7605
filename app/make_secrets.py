"""Give each service its secrets as files, once: taken from ./secrets when you put one there, else made at random.

Runs before everything else (service `preflight`), exits 0 when every secret is in its volume. None has a default value,
none is ever printed. A secret that is there is kept, so a second start changes nothing.
"""

import os
import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/run/secrets")  # given/ is ./secrets of the project; app/ and database/ are volumes
# A shorter one can be guessed offline: the session cookie is signed with secret_key, and anybody has a cookie.
MIN_LENGTH = 16
RANDOM_BYTES = 48


class RefusedError(Exception):
    """What was wrong with a secret, and what would be right; never its value."""


@dataclass(frozen=True, slots=True)
class Secret:
    """One secret: its file name, the volume it lives in, and what a change of it asks for."""

    name: str
    volume: str
    on_change: str


SECRETS = (
    Secret("secret_key", "app", "everybody is signed out: cookies signed with the old one are void"),
    Secret("database_password", "database", "PostgreSQL keeps the old one until you tell it: secrets/README.md"),
)


def given(path: Path) -> str | None:
    """Return the secret in a file of the user's, None when there is no file; RefusedError when it cannot be used."""
    try:
        text = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text in UTF-8"
        message = f"secrets/{path.name}: {reason}; right would be `chown {os.getuid()} secrets/{path.name}`, mode 400"
        raise RefusedError(message) from None
    if len(text) < MIN_LENGTH or not text.isprintable():
        message = f"secrets/{path.name}: right is one line of {MIN_LENGTH} printable characters or more, or no file"
        raise RefusedError(message)
    return text


def store(path: Path, value: str) -> None:
    """Put a secret in place in one step, readable for its owner and the folder's group alone."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o440), "w", encoding="utf-8") as file:
        file.write(value)
    fresh.replace(path)


def provide(secret: Secret, root: Path) -> str:
    """Make sure that the secret is in its volume and return what was done, in words."""
    path = root / secret.volume / secret.name
    wanted, kept = given(root / "given" / secret.name), path.read_text(encoding="utf-8") if path.exists() else None
    if wanted is None and kept is not None:
        return "kept"
    if wanted is not None and wanted == kept:
        return "kept, the same as in secrets/"
    store(path, wanted or secrets.token_urlsafe(RANDOM_BYTES))
    if kept is not None:
        return f"CHANGED to the one in secrets/; {secret.on_change}"
    return "made at random" if wanted is None else "taken from secrets/"


def main(root: Path = ROOT, names: Sequence[str] = ()) -> int:
    """Provide the secrets of these names, or every one; one line each."""
    try:
        for secret in (secret for secret in SECRETS if not names or secret.name in names):
            print(f"{secret.name}: {provide(secret, root)}", flush=True)
    except RefusedError as refused:
        print(refused, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename}: {error.strerror}; the volume must belong to uid {os.getuid()}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(names=sys.argv[1:]))
