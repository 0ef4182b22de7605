"""Backup and restore of the stack's own PostgreSQL, while it runs."""

import os
from datetime import UTC, datetime
from pathlib import Path

from tools.stack.base import StackError, last_lines
from tools.stack.compose import ComposeStack

# Every PostgreSQL dump in this format begins so; a wrong file is refused before the database is touched.
MAGIC = b"PGDMP"
_LOGIN = 'PGPASSWORD=$(cat "$POSTGRES_PASSWORD_FILE") exec "$@" --host=127.0.0.1 --username="$POSTGRES_USER"'


def backup(stack: ComposeStack, file: Path | None = None) -> Path:
    """Write a dump of the database as it is at one moment; requests go on meanwhile. Returns the file, readable by its owner alone.

    A dump that fails leaves no file that could be taken for one.
    """
    file = file or stack.root / "backups" / f"{stack.name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.dump"
    if "database" not in stack.compose("config", "--services").stdout.split():
        hint = "pg_dump where DATABASE_URL leads, or copy the volume `instance`"
        raise StackError(f"{stack.name} has no database container", hint=hint, exit_code=2)
    _require_database(stack)
    if file.exists():
        raise StackError(f"{file} is there already", hint="name another file", exit_code=2)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.part")
    try:
        with os.fdopen(os.open(part, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as target:
            answer = stack.pipe(*_in_database("pg_dump", "--format=custom", "--dbname=kit"), stdout=target)
            os.fsync(target.fileno())
        if answer.returncode:
            raise StackError("the database was not dumped", details=last_lines(answer.stderr.decode(errors="replace")))
        part.rename(file)
    finally:
        part.unlink(missing_ok=True)
    return file


def restore(stack: ComposeStack, file: Path) -> None:
    """Put the database back to what the dump holds, in one transaction: all of it, or nothing when it fails.

    What was written after the backup is gone. Requests that need the tables meanwhile wait, and get 503 after 1.5 s.
    """
    try:
        with file.open("rb") as source:
            if source.read(len(MAGIC)) != MAGIC:
                raise StackError(f"{file} is no backup of this kit", hint="name a file that `make backup` wrote", exit_code=2)
    except OSError as error:
        raise StackError(f"{file} cannot be read ({error.strerror})", hint="name a file that `make backup` wrote", exit_code=2) from None
    _require_database(stack)
    command = ("pg_restore", "--clean", "--if-exists", "--no-owner", "--single-transaction", "--exit-on-error", "--dbname=kit")
    with file.open("rb") as source:
        answer = stack.pipe(*_in_database(*command), stdin=source)
    if answer.returncode:
        raise StackError(
            "the backup was not restored; the database is as it was", details=last_lines(answer.stderr.decode(errors="replace"))
        )


def _require_database(stack: ComposeStack) -> None:
    if not any(unit.service == "database" for unit in stack.processes()):
        raise StackError(f"the database of {stack.name} does not run", hint="run make up")


def _in_database(*command: str) -> tuple[str, ...]:
    return ("exec", "--no-TTY", "database", "sh", "-ec", _LOGIN, "sh", *command)
