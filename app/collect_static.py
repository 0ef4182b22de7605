"""Copy the static files of a Flask application and of its packages' blueprints to where nginx serves them; for STATIC_COMMAND.

    python /srv/collect_static.py 'myservice:create_app()' [/srv/static]

Without it each file of a package is a request to the application: a page of Flask-AppBuilder has 21. By the application's own
routes: what is at /static/x.css lies in /srv/static/x.css, what is at /admin/static/x.css in /srv/static/_paths/admin/static.
"""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from gunicorn.util import import_app  # the name is read as gunicorn reads it

# What docs/eject.md has an application read, where the build has no value. SECRET_KEY_FILE: any text that is no secret.
PLACEHOLDERS = {
    "DATABASE_PASSWORD_FILE": os.devnull,
    "DATABASE_URL": "sqlite:////tmp/collect-static.db",
    "MAX_CONTENT_LENGTH": "10485760",
    "SECRET_KEY_FILE": __file__,
    "WORKER_CONCURRENCY": "1",
}
NGINX = "/static/"  # in every path that nginx looks for here (templates/60-site.conf.template)


def folders(app: Any) -> dict[str, str]:
    """Map each path that Flask serves a static folder at to that folder, longer paths last: there Flask prefers them."""
    found = {}
    for rule in app.url_map.iter_rules():
        name, _, view = rule.endpoint.rpartition(".")
        owner = app.blueprints.get(name) if name else app
        if view == "static" and getattr(owner, "static_folder", None):
            found[rule.rule.removesuffix("<path:filename>")] = owner.static_folder
    return dict(sorted(found.items(), key=lambda item: len(item[0])))


def collect(app: Any, dest: Path) -> None:
    """Copy each folder, and say where; a file of the same name is replaced."""
    for path, folder in folders(app).items():
        if NGINX not in path or "<" in path:
            print(f"collect_static: {path} is left to the application: nginx serves paths with {NGINX} in them, without variables")
        elif Path(folder).is_dir():
            inside = path.removeprefix(NGINX) if path.startswith(NGINX) else f"_paths{path}"
            shutil.copytree(folder, dest / inside, dirs_exist_ok=True)
            print(f"collect_static: {path} from {folder}")


def main(module: str, dest: str = "/srv/static") -> None:
    """Import the application as gunicorn does, without its database and its secrets."""
    os.environ.update({name: value for name, value in PLACEHOLDERS.items() if not os.environ.get(name)})
    sys.path.insert(0, str(Path.cwd()))
    try:
        app: Any = import_app(module)
        collect(app if hasattr(app, "url_map") else app(), Path(dest))  # or a factory (gunicorn_hooks/application.py)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - an application may raise anything
        sys.exit(f"collect_static: {module}: {error!r}; right is a Flask application that can be imported without its database")


if __name__ == "__main__":
    main(*sys.argv[1:])
