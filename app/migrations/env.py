"""Run the migrations on the application's own database connection."""

import click
from alembic import context
from flask import current_app
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

# Two `flask db upgrade` at once: the second waits for this lock, then finds nothing to do. Any number, ours alone.
_UPGRADE_LOCK = 7_205_759_403


def _prepare(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        # A migration may take longer than a web request is allowed to.
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _UPGRADE_LOCK})


def _run() -> None:
    extension = current_app.extensions["migrate"]
    engine: Engine = extension.db.engine
    with engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=extension.db.metadata,
            # SQLite changes a table by copying it.
            render_as_batch=True,
            compare_type=True,
        )
        with context.begin_transaction():
            _prepare(connection)
            context.run_migrations()


if context.is_offline_mode():
    raise SystemExit("--sql is not supported: the migrations run on the application's connection")
try:
    _run()
except OperationalError as error:
    # Away, or it refuses the password or the name: one line that says which, without the statement.
    raise click.ClickException(f"the database: {' '.join(str(error.orig).split())}") from None
