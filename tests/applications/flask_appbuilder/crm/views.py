"""Pages and an API of the contacts, as Flask-AppBuilder makes them."""

import csv
import io

from flask import Response, url_for
from flask_appbuilder import AppBuilder, ModelRestApi, ModelView
from flask_appbuilder.actions import action
from flask_appbuilder.models.sqla.interface import SQLAInterface
from markupsafe import Markup

from crm.models import Contact, ContactGroup


class ContactView(ModelView):
    """List, search, add, edit, show, delete, download, export."""

    datamodel = SQLAInterface(Contact)
    list_columns = ["name", "contact_group", "birthday", "download"]
    search_columns = ["name", "notes", "birthday", "contact_group"]
    add_columns = edit_columns = ["name", "contact_group", "birthday", "notes", "document"]
    show_columns = [*add_columns, "download"]
    label_columns = {"download": "File"}

    @action("export", "Export", multiple=True, single=False)
    def export(self, items: list[Contact]) -> Response:
        """Return the chosen contacts as CSV."""
        text = io.StringIO()
        csv.writer(text).writerows([["name", "notes"], *([one.name, one.notes] for one in items)])
        return Response(text.getvalue(), mimetype="text/csv", headers={"Content-Disposition": "attachment; filename=contacts.csv"})


class GroupView(ModelView):
    """Groups, with their contacts below."""

    datamodel = SQLAInterface(ContactGroup)
    related_views = [ContactView]


class ContactApi(ModelRestApi):
    """/api/v1/contact/"""

    resource_name = "contact"
    datamodel = SQLAInterface(Contact)
    list_columns = ["id", "name", "notes"]
    add_columns = edit_columns = ["name", "notes", "contact_group"]


class GroupRest(ModelRestApi):
    """/api/v1/contactgroup/; the name GroupApi is one of Flask-AppBuilder's own."""

    resource_name = "contactgroup"
    datamodel = SQLAInterface(ContactGroup)


def download_link(self: Contact) -> Markup:
    """Return a link to the contact's file."""
    if not self.document:
        return Markup("")
    return Markup('<a href="{}">Download</a>').format(url_for("ContactView.download", filename=str(self.document)))


Contact.download = download_link


def register(appbuilder: AppBuilder) -> None:
    """Add everything to the builder."""
    appbuilder.add_view(GroupView, "Groups", category="Contacts")
    appbuilder.add_view(ContactView, "Contacts", category="Contacts")
    appbuilder.add_api(ContactApi)
    appbuilder.add_api(GroupRest)
