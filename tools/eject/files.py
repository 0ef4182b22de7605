"""What goes into the other project: copies of this kit's files, and those that must say something else there."""

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path

from tools.eject.draft import Draft
from tools.eject.project import Project

KIT = Path(__file__).resolve().parents[2]
# Copied as they are. Folders without what running them leaves behind.
AS_THEY_ARE = ("compose/http3.yaml", "gunicorn.conf.py", "nginx", "doctor", "secrets/README.md")
# Copied with the other project's name.
RENAMED = ("compose/tls.yaml", "deploy.mk")
LEFT_BEHIND = {"__pycache__"}
MOVED = {
    "app/probe.py": "deploy/probe.py",
    "app/make_secrets.py": "deploy/make_secrets.py",
    "requirements/doctor.txt": "doctor/requirements.txt",
}
# What the server needs beside the application; both are dependencies of this kit.
SERVER_PACKAGES = ("gunicorn", "python-json-logger")


def files(project: Project) -> dict[Path, str]:
    """Map each file of the other project, relative to its folder, to its text."""
    found = {path: (KIT / path).read_text() for path in _copies()}
    found |= {Path(new): (KIT / old).read_text() for old, new in MOVED.items()}
    found[Path("docker-compose.yml")] = compose_file(project)
    found |= {Path(name): Draft((KIT / name).read_text()).replace("flask-kit", project.name).text for name in RENAMED}
    found[Path(".env.example")] = settings(project)
    found[Path("deploy/Dockerfile")] = dockerfile(project)
    found[Path("deploy/server.in")] = server_requirements()
    found[Path(".dockerignore")] = ignored(project)
    if project.database:
        found[Path("compose/database.yaml")] = (KIT / "compose/database.yaml").read_text()
    if not (project.folder / "Makefile").exists():
        found[Path("Makefile")] = "include deploy.mk\n"
    return found


def executable(path: Path) -> bool:
    """Whether a file of `files` is a program."""
    return (KIT / path).is_file() and bool((KIT / path).stat().st_mode & 0o100)


def _copies() -> Iterator[Path]:
    for name in AS_THEY_ARE:
        top = KIT / name
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if path.is_file() and not LEFT_BEHIND & set(path.parts):
                yield path.relative_to(KIT)


def compose_file(project: Project) -> str:
    """The Compose file without the laboratory, with the other project's names, commands and volumes."""
    draft = Draft((KIT / "docker-compose.yml").read_text())
    draft.drop_block("downstream").drop_lines(r"^    LAB_")
    draft.replace("flask-kit", project.name).replace("kit_app:create_app()", project.app_module)
    draft.replace("HEALTH_PATH:-/healthz", f"HEALTH_PATH:-{project.health_path}")
    arguments = {
        "KIT": "deploy",
        "PRELOAD_LIBRARIES": "flask",
        "REQUIREMENTS": "deploy/requirements.txt",
        "SOURCES": project.sources,
        "STATIC_COMMAND": _static_command(project),
        "WRITABLE": " ".join(f"/srv/app/{folder}" for folder in project.writable),
    }
    image = "        PYTHON_IMAGE: ${PYTHON_IMAGE:-python:3.14-slim-trixie}\n"
    draft.replace("dockerfile: app/Dockerfile", "dockerfile: deploy/Dockerfile")
    draft.replace(image, image + "".join(f"        {name}: {json.dumps(value)}\n" for name, value in arguments.items()))
    _set_migrate(draft, project)
    if not project.database:
        _drop_database(draft)
    for number, folder in enumerate(project.writable):
        # Shared by all replicas of this host: what one writes, the others read.
        mount = "    - app-secrets:/run/secrets/app:ro\n"
        draft.replace(mount, f"{mount}    - state-{number}:/srv/app/{folder}\n")
        draft.replace("\nvolumes:\n", f"\nvolumes:\n  state-{number}:\n")
    return draft.text


def _static_command(project: Project) -> str:
    """Run in /srv/app, where the sources are, while the image is built. Compressed here, once; nginx sends the .gz files."""
    if project.static is None:
        return "mkdir -p /srv/static"
    inside = Path(project.static).relative_to(project.sources) if project.sources != "." else project.static
    return f"cp -r {inside} /srv/static && find /srv/static -type f -exec gzip -9 --keep --no-name {{}} +"


def _set_migrate(draft: Draft, project: Project) -> None:
    if project.migrate is None:
        draft.drop_block("migrate")
        ready = "database: {condition: service_healthy}" if project.database else "secrets: {condition: service_completed_successfully}"
        draft.replace("migrate: {condition: service_completed_successfully}", ready)
    else:
        draft.replace('["flask", "db", "upgrade"]', json.dumps(["sh", "-ec", project.migrate.replace("$", "$$")]))


def _drop_database(draft: Draft) -> None:
    """SQLite, or a database that is reached otherwise: no container, no network and no password for it."""
    draft.drop_block("database").drop_block("data")
    draft.drop_lines(r"^    DATABASE_").drop_lines(r"- database-secrets:").drop_lines(r'group_add: \["10002"\]')
    draft.drop_lines(r"^      data:$").drop_lines(r"^  database(-secrets)?:$")
    draft.replace("/srv/make_secrets.py", "/srv/make_secrets.py secret_key").replace("\nvolumes:\n", "\n\nvolumes:\n")
    if "networks: [data]" in draft.text:
        draft.replace("networks: [data]", "network_mode: none")
        draft.replace("database: {condition: service_healthy}", "secrets: {condition: service_completed_successfully}")


def settings(project: Project) -> str:
    """The page of settings, without those of the laboratory and of what is not there."""
    draft = Draft((KIT / ".env.example").read_text())
    draft.drop_paragraphs("LAB_ENABLED|LAB_DOWNSTREAM_URL|RUNTIME")
    draft.replace("kit_app:create_app()", project.app_module).replace("HEALTH_PATH=/healthz", f"HEALTH_PATH={project.health_path}")
    draft.replace("flask-kit", project.name)
    if not project.database:
        draft.drop_paragraphs(r"DATABASE_\w+")
    return draft.text


def dockerfile(project: Project) -> str:
    """The recipe of the image; what differs are build arguments, which the Compose file gives."""
    draft = Draft((KIT / "app/Dockerfile").read_text())
    return draft.replace("-f app/Dockerfile", "-f deploy/Dockerfile").replace("flask-kit", project.name).text


def server_requirements() -> str:
    """What the image needs beside the application, in this kit's versions."""
    declared = tomllib.loads((KIT / "pyproject.toml").read_text())["project"]["dependencies"]
    return "".join(f"{line}\n" for line in declared if line.startswith(SERVER_PACKAGES))


def ignored(project: Project) -> str:
    """An allow list for the image builder."""
    top = project.sources if project.sources != "." else project.package
    if project.sources == "." and not (project.folder / top).is_dir():
        top = f"{top}.py"
    allowed = [top, "gunicorn.conf.py", "deploy"]
    allowed += ["migrations"] if (project.folder / "migrations").is_dir() else []
    lines = [
        "# An allow list: what is not named here never reaches the image builder, so no secret and no .git can end in an image.",
        "*",
        *(f"!{name}" for name in allowed),
        *("**/__pycache__", "**/*.pyc", "**/*.sqlite", "**/*.db", "**/.env"),
    ]
    return "\n".join(lines) + "\n"
