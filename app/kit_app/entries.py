"""The guestbook's entries: how they are stored and read. Pages and API both use this."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from flask import Flask
from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from werkzeug.routing import BaseConverter, ValidationError

from kit_app.models import Entry, IdempotencyKey
from kit_app.schemas import MAX_ID, NewEntry
from kit_flask.sessions import session_scope

# Clients repeat a request within seconds. Every 64th entry deletes up to 128 older keys: their table stays as large as a day's.
KEPT, CLEAN_EVERY = timedelta(hours=24), 64


@dataclass(frozen=True, slots=True)
class Page:
    """Some entries, newest first, and the cursors of what lies on both sides (None: nothing)."""

    entries: Sequence[Entry]
    older: str | None = None
    newer: str | None = None


def latest(limit: int, after: str | None = None, before: str | None = None) -> Page:
    """Return up to `limit` entries: the newest, those after (older than) a cursor, or those just before (newer than) one."""
    # One more than asked for tells whether there are more.
    query = select(Entry).order_by(Entry.id if before else Entry.id.desc()).limit(limit + 1)
    if after:
        query = query.where(Entry.id < int(after, 16))
    if before:
        query = query.where(Entry.id > int(before, 16))
    with session_scope(reads=True) as session:
        found = session.scalars(query).all()
    entries, more = found[:limit], len(found) > limit
    if before:
        entries = entries[::-1]
    if not entries:
        return Page(entries)
    first, last = (f"{entry.id:016x}" for entry in (entries[0], entries[-1]))
    return Page(entries, older=last if more or before else None, newer=first if after or (before and more) else None)


def find(entry_id: int) -> Entry | None:
    """Return one entry, or None."""
    with session_scope(reads=True) as session:
        return session.get(Entry, entry_id)


class KeyReusedError(Exception):
    """An idempotency key came again with another entry."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client that stored an entry is answered; `replayed`: an earlier request with its idempotency key made it."""

    body: str
    entry_id: int
    replayed: bool


def sign(new: NewEntry, show: Callable[[Entry], str], key: str | None = None) -> Answer:
    """Store `new`, unless `key` did so before; the same key gets the same answer, which `show` made.

    Entry and key are one transaction: there is never one without the other. Raises KeyReusedError.
    """
    fingerprint = hashlib.sha256(new.model_dump_json().encode()).hexdigest() if key else ""
    with session_scope() as session:
        if key and (stored := session.get(IdempotencyKey, key)):
            return _replay(stored, fingerprint)
        try:
            entry = Entry(name=new.name, message=new.message)
            session.add(entry)
            session.flush()  # the database gives the id
            answer = Answer(show(entry), entry.id, replayed=False)
            if key:
                session.add(IdempotencyKey(key=key, fingerprint=fingerprint, entry_id=entry.id, answer=answer.body))
                if entry.id % CLEAN_EVERY == 0:
                    _forget_old_keys(session)
            session.commit()
        except IntegrityError:
            # Another request, perhaps on another container, was faster. The database made us wait for its commit.
            session.rollback()
            if key and (stored := session.get(IdempotencyKey, key)):
                return _replay(stored, fingerprint)
            raise
    return answer


def _replay(stored: IdempotencyKey, fingerprint: str) -> Answer:
    if stored.fingerprint != fingerprint:
        raise KeyReusedError
    return Answer(stored.answer, stored.entry_id, replayed=True)


def _forget_old_keys(session: Session) -> None:
    old = select(IdempotencyKey.key).where(IdempotencyKey.created_at < datetime.now(UTC) - KEPT).limit(2 * CLEAN_EVERY)
    # skip_locked: two requests that delete the same keys would wait for each other, and might end in a deadlock.
    session.execute(delete(IdempotencyKey).where(IdempotencyKey.key.in_(old.with_for_update(skip_locked=True))))


class _EntryId(BaseConverter):
    """An id that an entry can have. Any other is a 404, where the database could not even be asked for it."""

    regex = r"[0-9]{1,19}"

    def to_python(self, value: str) -> int:
        if (entry_id := int(value)) > MAX_ID:
            raise ValidationError
        return entry_id


def init_app(app: Flask) -> None:
    """Let the routes of `app` say <entry_id:name>."""
    app.url_map.converters["entry_id"] = _EntryId
