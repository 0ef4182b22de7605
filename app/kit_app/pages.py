"""The pages: list, form, one entry, and what happens to a request."""

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from wtforms import StringField, TextAreaField

from kit_app import entries
from kit_app.lab.process import describe_process
from kit_app.record import current_record
from kit_app.schemas import NewEntry
from kit_app.validation import InvalidInputError, validate

bp = Blueprint("pages", __name__)

ENTRIES_PER_PAGE = 10


class SignForm(FlaskForm):  # type: ignore[misc]
    """The fields of the form. What is valid in them says NewEntry, for the form and the API alike."""

    name = StringField("Your name")
    message = TextAreaField("Your message")

    def new_entry(self) -> NewEntry | None:
        """Return what was typed, or None and leave the reasons with the fields."""
        # Browsers send the line breaks of a textarea as CR LF, and count them as one character.
        typed = {"name": self.name.data or "", "message": (self.message.data or "").replace("\r\n", "\n")}
        try:
            return validate(NewEntry, typed)
        except InvalidInputError as invalid:
            for error in invalid.errors:
                self[error.field].errors = [error.detail]
            return None


@bp.get("/")
def index() -> str:
    """The newest entries, or those before a cursor, and the form."""
    return _render_index(SignForm())


def _render_index(form: SignForm) -> str:
    after = request.args.get("after")
    try:
        page = entries.latest(ENTRIES_PER_PAGE, after)
    except ValueError:
        abort(404, "There is no such page of the guestbook.")
    return render_template("index.html", form=form, page=page, is_first=after is None)


@bp.post("/entries")
def sign() -> ResponseReturnValue:
    """Store an entry, then send the browser to the list: reloading that does not sign again."""
    form = SignForm()
    new = form.new_entry()
    if new is None:
        return _render_index(form), 422
    entries.sign(new)
    flash("Thank you for signing.")
    return redirect(url_for(".index"), 303)


@bp.get("/entries/<entry_id:entry_id>")
def entry(entry_id: int) -> str:
    """One entry."""
    found = entries.find(entry_id) or abort(404, "There is no such entry.")
    return render_template("entry.html", entry=found)


@bp.get("/about")
def about() -> str:
    """The way of a request, with what this very request met."""
    newest = entries.latest(1)
    record = current_record()
    return render_template(
        "about.html",
        stages=dict(record.stages()) if record else {},
        request_id=record.request_id if record else "",
        process=describe_process(),
        newest=newest.entries,
    )
