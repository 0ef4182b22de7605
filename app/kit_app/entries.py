"""The guestbook's entries: what a valid one is, and how they are stored and read. Pages and API both use this."""

import base64
import binascii
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from werkzeug.routing import BaseConverter, ValidationError

from kit_app.database import visit
from kit_app.models import Entry, IdempotencyKey
from kit_app.validation import without_control_characters

NAME_LENGTH = 80
MESSAGE_LENGTH = 2000
# Largest id that the column can hold.
MAX_ID = 2**63 - 1
_LINE_BREAKS = "\t\n\r"


def _visible(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


class NewEntry(BaseModel):
    """What a visitor sends. Text is kept exactly as it was sent."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[
        str,
        Field(min_length=1, max_length=NAME_LENGTH),
        AfterValidator(_visible),
        AfterValidator(without_control_characters),
    ]
    message: Annotated[
        str,
        Field(min_length=1, max_length=MESSAGE_LENGTH),
        AfterValidator(_visible),
        AfterValidator(lambda text: without_control_characters(text, allowed=_LINE_BREAKS)),
    ]


class StoredEntry(BaseModel):
    """An entry as the API shows it."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    name: str
    message: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Page:
    """Some entries, newest first, and the cursor of those that follow (None: there are no more)."""

    entries: Sequence[Entry]
    next_cursor: str | None


class EntryId(BaseConverter):
    """An id in a URL. One that no entry can have is a 404, like any other that does not exist."""

    regex = r"\d{1,19}"

    def to_python(self, value: str) -> int:
        """Return the id."""
        if (entry_id := int(value)) > MAX_ID:
            raise ValidationError
        return entry_id


def encode_cursor(entry_id: int) -> str:
    """Return the cursor of the entries older than `entry_id`."""
    return base64.urlsafe_b64encode(f"before:{entry_id}".encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> int:
    """Return the id in `cursor`; raises ValueError when it is none of ours."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        text = ""
    prefix, _, digits = text.partition(":")
    if prefix != "before" or not (digits.isascii() and digits.isdigit() and len(digits) < 20):
        raise ValueError("is not a cursor of this API")
    return min(int(digits), MAX_ID)


def latest(limit: int, before: int | None = None) -> Page:
    """Return up to `limit` entries, newest first, those older than `before` when it is given."""
    query = select(Entry).order_by(Entry.id.desc()).limit(limit + 1)
    if before is not None:
        query = query.where(Entry.id < before)
    with visit() as session:
        found = session.scalars(query).all()
    entries = found[:limit]
    return Page(entries, encode_cursor(entries[-1].id) if len(found) > limit else None)


def find(entry_id: int) -> Entry | None:
    """Return one entry, or None."""
    with visit() as session:
        return session.get(Entry, entry_id)


def sign(new: NewEntry) -> Entry:
    """Store `new`."""
    with visit() as session:
        entry = _add(session, new)
        session.commit()
    return entry


def _add(session: Session, new: NewEntry) -> Entry:
    entry = Entry(name=new.name, message=new.message)
    session.add(entry)
    session.flush()  # the database gives the id
    return entry


class KeyReusedError(Exception):
    """An idempotency key came again with another entry."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client that sent an idempotency key is answered; `replayed`: an earlier request made the entry."""

    body: str
    entry_id: int
    replayed: bool


def sign_once(key: str, new: NewEntry, answer: Callable[[Entry], str]) -> Answer:
    """Store `new` unless `key` did so before; the same key gets the same answer.

    Entry and key are one transaction: there is never one without the other. Raises KeyReusedError.
    """
    fingerprint = hashlib.sha256(new.model_dump_json().encode()).hexdigest()
    with visit() as session:
        if stored := session.get(IdempotencyKey, key):
            return _replay(stored, fingerprint)
        try:
            entry = _add(session, new)
            body = answer(entry)
            session.add(IdempotencyKey(key=key, fingerprint=fingerprint, entry_id=entry.id, answer=body))
            session.commit()
        except IntegrityError:
            # Another request, perhaps on another container, was faster. The database made us wait for its commit.
            session.rollback()
            if stored := session.get(IdempotencyKey, key):
                return _replay(stored, fingerprint)
            raise
    return Answer(body, entry.id, replayed=False)


def _replay(stored: IdempotencyKey, fingerprint: str) -> Answer:
    if stored.fingerprint != fingerprint:
        raise KeyReusedError
    return Answer(stored.answer, stored.entry_id, replayed=True)


def forget_keys(before: datetime) -> int:
    """Delete the idempotency keys made before that moment, and return how many they were."""
    with visit() as session:
        keys = session.scalars(delete(IdempotencyKey).where(IdempotencyKey.created_at < before).returning(IdempotencyKey.key))
        count = len(keys.all())
        session.commit()
    return count
