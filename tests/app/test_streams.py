"""An answer that is made while it is sent. Since Flask 3.1.2 a request is torn down before the first byte of one, and again after it."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Response, g, stream_with_context
from sqlalchemy import text

from kit_flask.sessions import session_scope
from tests.app.conftest import MakeApp

NAMES = [str(number) for number in range(20)]


def rows() -> Iterator[str]:
    with session_scope() as session:
        for row in session.execute(text("SELECT name FROM entry ORDER BY id")):
            yield f"{row.name}\n"


def test_it_opens_the_database_by_itself(make_app: MakeApp, caplog: pytest.LogCaptureFixture) -> None:
    app, ended = make_app(), []
    app.add_url_rule("/api/rows", view_func=lambda: Response(stream_with_context(rows())))
    app.teardown_request(lambda _error: ended.append("teardown"))
    client = app.test_client()
    for name in NAMES:
        client.post("/api/entries", json={"name": name, "message": "x"})
    ended.clear()
    with client.get("/api/rows") as answer:
        assert answer.get_data(as_text=True).split() == NAMES

    assert ended == ["teardown", "teardown"]
    (line,) = [vars(record) for record in caplog.records if getattr(record, "path", "") == "/api/rows"]
    assert line["bytes"] == len(answer.data)
    assert "complete" not in line


def test_what_the_view_opened_is_closed_by_then(make_app: MakeApp, tmp_path: Path) -> None:
    """The twin: Flask's tutorial opens the database in the view and closes it in a teardown."""
    app = make_app()

    def view() -> Response:
        g.database = sqlite3.connect(tmp_path / "tutorial.db")
        return Response(stream_with_context(str(row) for row in g.database.execute("SELECT 1 UNION SELECT 2")))

    app.add_url_rule("/tutorial", view_func=view)
    app.teardown_request(lambda _error: g.database.close())

    with pytest.raises(sqlite3.ProgrammingError, match="closed database"):
        app.test_client().get("/tutorial")
