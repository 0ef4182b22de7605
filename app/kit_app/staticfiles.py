"""Static files: hashed names and ready compressed copies for nginx, plain names in development.

    python -m kit_app.staticfiles DIR

copies the files to DIR, once more under a name with their digest, with .gz and .br beside them, and writes
cache_manifest.json. With STATIC_ROOT=DIR the pages link to the hashed names; nginx serves DIR as /static/.
"""

import logging
import shutil
from pathlib import Path

import click
from flask import Flask
from flask_static_digest import FlaskStaticDigest
from flask_static_digest.digester import compile as digest_files

_logger = logging.getLogger(__name__)
SOURCES = Path(__file__).parent / "static"

# Gives templates static_url_for(), which looks names up in the manifest.
static_digest = FlaskStaticDigest()


def init_app(app: Flask) -> None:
    """Link to the hashed names when there are some."""
    static_digest.init_app(app)
    if Path(app.static_folder or "") != SOURCES and not static_digest.manifests:
        # The extension says nothing; nginx would answer every plain name with a short cache time, or 404.
        _logger.warning("STATIC_ROOT has no cache_manifest.json: make it with `python -m kit_app.staticfiles DIR`")


def compile_to(folder: Path) -> None:
    """Fill `folder`. Older hashed names stay in it: pages that browsers still show link to them."""
    shutil.copytree(SOURCES, folder, dirs_exist_ok=True)
    digest_files(str(folder), str(folder), digest_blacklist_filter=[], gzip_files=True, brotli_files=True)


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), envvar="STATIC_ROOT")
def main(folder: Path) -> None:
    """Compile the static files into FOLDER (or STATIC_ROOT)."""
    try:
        compile_to(folder)
    except OSError as error:
        raise click.ClickException(f"cannot write to {folder}: {error.strerror or error}") from None


if __name__ == "__main__":
    main()
