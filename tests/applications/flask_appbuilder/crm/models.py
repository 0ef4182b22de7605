"""Contacts, in groups."""

from flask_appbuilder import Model
from flask_appbuilder.models.mixins import AuditMixin, FileColumn
from sqlalchemy import Column, Date, ForeignKey, Integer, String, Text
from sqlalchemy.orm import relationship


class ContactGroup(Model):
    """A group of contacts."""

    __tablename__ = "contact_group"
    id = Column(Integer, primary_key=True)
    name = Column(String(50), unique=True, nullable=False)

    def __repr__(self) -> str:
        return self.name


class Contact(AuditMixin, Model):
    """Somebody, with notes and a file."""

    __tablename__ = "contact"
    id = Column(Integer, primary_key=True)
    name = Column(String(150), nullable=False)
    birthday = Column(Date)
    notes = Column(Text)
    document = Column(FileColumn)
    contact_group_id = Column(Integer, ForeignKey("contact_group.id"), nullable=False)
    contact_group = relationship("ContactGroup")

    def __repr__(self) -> str:
        return self.name
