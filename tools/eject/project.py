"""The other project, as it was found and as its owner describes it."""

import re
from dataclasses import dataclass
from pathlib import Path

import click

# What gunicorn takes, without arguments in the call: they would have to survive three files' quoting.
APP_MODULE = re.compile(r"(?P<module>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):(?P<name>[A-Za-z_]\w*)(?:\(\))?")
# Compose's rule for project names.
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
# Below the folder of the application; what goes into a Dockerfile and a Compose file unquoted.
RELATIVE = re.compile(r"[\w.-]+(?:/[\w.-]+)*")


@dataclass(frozen=True, slots=True)
class Project:
    """Where the files go and what they must say."""

    folder: Path
    name: str  # of the Compose project and the images
    app_module: str  # "package.module:name" or "package.module:factory()"
    sources: str  # folder with the application, "." or "src", relative to `folder`
    requirements: str  # "requirements.txt" or "pyproject.toml", relative to `folder`
    static: str | None  # folder with the static files, relative to `folder`
    database: bool  # whether PostgreSQL is part of the stack
    migrate: str | None  # shell command that brings the database up to date
    health_path: str
    writable: tuple[str, ...]  # folders the application writes, relative to its own folder; each becomes a volume

    @property
    def package(self) -> str:
        """The outermost package (or only module) of the application."""
        return self.app_module.partition(":")[0].partition(".")[0]


def look_at(
    folder: Path,
    app_module: str,
    *,
    name: str | None,
    requirements: str | None,
    static: str | None,
    database: bool,
    migrate: str | None,
    health_path: str,
    writable: tuple[str, ...],
) -> Project:
    """Find what was not said, and refuse what cannot be right. Raises click.UsageError."""
    folder = folder.resolve()
    if not folder.is_dir():
        raise click.UsageError(f"{folder}: no such folder; DEST is the folder of your project, which holds your application")
    if not APP_MODULE.fullmatch(app_module):
        raise click.UsageError(f"APP_MODULE={app_module}: right would be package.module:app, or package.module:create_app()")
    package = app_module.partition(":")[0].partition(".")[0]
    sources = next((where for where in (".", "src") if _holds(folder / where, package)), None)
    if sources is None:
        raise click.UsageError(f"APP_MODULE={app_module}: neither {folder} nor its src/ has a package or module {package}")
    name = name or re.sub(r"[^a-z0-9_-]+", "-", folder.name.lower()).strip("-_")
    if not NAME.fullmatch(name):
        raise click.UsageError(f"{name!r} cannot name a Compose project: lower-case letters, digits, - and _ (--name)")
    if not health_path.startswith("/") or re.search(r"[\s\"'$}]", health_path):
        raise click.UsageError(f"--health-path {health_path}: right would be a path such as /healthz")
    for path in (*writable, *filter(None, [static])):
        if not RELATIVE.fullmatch(path) or ".." in path.split("/"):
            raise click.UsageError(f"{path}: right would be a folder inside the project, such as instance")
    if migrate is None and database and (folder / sources / "migrations").is_dir():
        migrate = "flask db upgrade"
    return Project(
        folder=folder,
        name=name,
        app_module=app_module,
        sources=sources,
        requirements=_requirements(folder, requirements),
        static=_static(folder, sources, package, static),
        database=database,
        migrate=migrate,
        health_path=health_path,
        writable=writable,
    )


def _holds(folder: Path, package: str) -> bool:
    return (folder / package).is_dir() or (folder / f"{package}.py").is_file()


def _requirements(folder: Path, given: str | None) -> str:
    for candidate in [given] if given else ["requirements.txt", "pyproject.toml"]:
        if (folder / candidate).is_file():
            return candidate
    raise click.UsageError(
        f"{folder} has no {given or 'requirements.txt and no pyproject.toml'}: what does your application need? (--requirements)"
    )


def _static(folder: Path, sources: str, package: str, given: str | None) -> str | None:
    if given and not (folder / given).is_dir():
        raise click.UsageError(f"--static {given}: {folder} has no such folder")
    usual = Path(sources) / package / "static"
    return given or (str(usual) if (folder / usual).is_dir() else None)
