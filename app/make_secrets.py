"""Give each service its secrets as files, once: taken from ./secrets when you put one there, else made at random.

Runs before everything else, exits 0 when every secret is in its volume. None is ever printed. One that is there is kept.
"""

import os
import secrets
import sys
from pathlib import Path

ROOT = Path("/run/secrets")  # given/ is ./secrets of the project; the others are volumes
# Each secret's volume, and what a change of it asks for.
SECRETS = {
    "secret_key": ("app", "the old one is accepted until `make rotate-secret ARGS=--finish`"),
    "database_password": ("database", "PostgreSQL keeps the old one until you tell it: docs/operating.md"),
}
FALLBACKS = "secret_key_fallbacks"  # accepted, and not used to sign
MIN_LENGTH = 16  # a shorter one can be guessed offline, from any cookie that is signed with secret_key


class RefusedError(Exception):
    """What was wrong with a secret, and what would be right; never its value."""


def given(path: Path) -> str | None:
    """Return the secret in a file of the user's, None when there is no file; RefusedError when it cannot be used."""
    try:
        text = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        text = ""
    except OSError as error:
        cloned = not os.access(path.parent, os.X_OK)  # with umask 077
        right = "`chmod 711 secrets`" if cloned else f"`chown {os.getuid()} secrets/{path.name}`, mode 400"
        raise RefusedError(f"secrets/{path.name}: {error.strerror}; right would be {right}") from None
    if len(text) < MIN_LENGTH or not text.isprintable():
        raise RefusedError(f"secrets/{path.name}: right is one line of {MIN_LENGTH} printable characters or more, or no file")
    return text


def store(path: Path, value: str) -> None:
    """Put a secret in place in one step, readable for its owner and the folder's group alone."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o440), "w", encoding="utf-8") as file:
        file.write(value)
    fresh.replace(path)


def provide(name: str, root: Path) -> str:
    """Make sure that the secret is in its volume and return what was done, in words."""
    volume, on_change = SECRETS[name]
    path = root / volume / name
    wanted, kept = given(root / "given" / name), path.read_text(encoding="utf-8") if path.exists() else None
    if name == "secret_key" and not path.with_name(FALLBACKS).exists():
        accept(path)
    if kept is not None and wanted in {None, kept}:
        return "kept"
    store(path, wanted or secrets.token_urlsafe(48))
    if kept is not None and name == "secret_key":
        accept(path, kept)
    if kept is not None:
        return f"CHANGED to the one in secrets/; {on_change}"
    return "taken from secrets/" if wanted else "made at random"


def accept(path: Path, *keys: str) -> None:
    """Have these accepted beside the one that signs (SECRET_KEY_FALLBACKS)."""
    store(path.with_name(FALLBACKS), "\n".join(keys))


def main(root: Path = ROOT) -> int:
    """Provide every secret; one line each."""
    try:
        for name in SECRETS:
            print(f"{name}: {provide(name, root)}", flush=True)
    except (RefusedError, OSError) as error:
        volume = f"{error.filename}: {error.strerror}; the volume must belong to uid {os.getuid()}" if isinstance(error, OSError) else ""
        print(volume or error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
