"""The guestbook's entries: how they are stored and read. Pages and API both use this."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from kit_app import cursor
from kit_app.database import visit
from kit_app.models import Entry, IdempotencyKey
from kit_app.schemas import NewEntry


@dataclass(frozen=True, slots=True)
class Page:
    """Some entries, newest first, and the cursor of those that follow (None: there are no more)."""

    entries: Sequence[Entry]
    next_cursor: str | None


def latest(limit: int, after: str | None = None) -> Page:
    """Return up to `limit` entries, newest first, or those that follow the cursor `after`; ValueError if it is none."""
    # One more than asked for tells whether there are more.
    query = select(Entry).order_by(Entry.id.desc()).limit(limit + 1)
    if after is not None:
        query = query.where(Entry.id < cursor.decode(after))
    with visit() as session:
        found = session.scalars(query).all()
    entries = found[:limit]
    return Page(entries, cursor.encode(entries[-1].id) if len(found) > limit else None)


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


def sign_once(key: str, new: NewEntry, show: Callable[[Entry], str]) -> Answer:
    """Store `new` unless `key` did so before; the same key gets the same answer, which `show` made.

    Entry and key are one transaction: there is never one without the other. Raises KeyReusedError.
    """
    fingerprint = hashlib.sha256(new.model_dump_json().encode()).hexdigest()
    with visit() as session:
        if stored := session.get(IdempotencyKey, key):
            return _replay(stored, fingerprint)
        try:
            entry = _add(session, new)
            answer = Answer(show(entry), entry.id, replayed=False)
            session.add(IdempotencyKey(key=key, fingerprint=fingerprint, entry_id=entry.id, answer=answer.body))
            session.commit()
        except IntegrityError:
            # Another request, perhaps on another container, was faster. The database made us wait for its commit.
            session.rollback()
            if stored := session.get(IdempotencyKey, key):
                return _replay(stored, fingerprint)
            raise
    return answer


def _replay(stored: IdempotencyKey, fingerprint: str) -> Answer:
    if stored.fingerprint != fingerprint:
        raise KeyReusedError
    return Answer(stored.answer, stored.entry_id, replayed=True)


def forget_keys(before: datetime) -> int:
    """Delete the idempotency keys made before that moment, and return how many they were."""
    with visit() as session:
        old = delete(IdempotencyKey).where(IdempotencyKey.created_at < before).returning(IdempotencyKey.key)
        count = len(session.scalars(old).all())
        session.commit()
    return count
