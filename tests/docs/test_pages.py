"""What the pages name is there."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.budgets import ROOT

# The changelog speaks of what was there once.
PAGES = [ROOT / "README.md", *sorted(path for path in (ROOT / "docs").glob("*.md") if path.name != "CHANGELOG.md")]
# Made by the reader, or while something runs.
MADE = re.compile(
    r"secrets/(secret_key|database_password)|backups/|sbom/|tls/|\.run/|tools/reliability/results/|loadtest/results/|instance/|.*/secrets\.env$"
)
FOLDERS = r"(?:app|compose|deploy|docs|gunicorn_hooks|loadtest|nginx|requirements|secrets|servers|tests|tools|waf)"
PATHS = re.compile(rf"(?<![\w/.-])(?:{FOLDERS}/[\w./-]*[\w/]|(?:docker-compose\.yml|gunicorn\.conf\.py|pyproject\.toml|Makefile)(?![\w.]))")

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)


@every_page
def test_its_links_lead_somewhere(page: Path) -> None:
    links = [link.partition("#") for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()) if not link.startswith("http")]
    broken = [name for name, _, _ in links if name and not (page.parent / name).exists()]
    headings = {name: anchors(page.parent / name if name else page) for name, _, anchor in links if anchor and name not in broken}

    assert broken == []
    assert [anchor for name, _, anchor in links if anchor and anchor not in headings[name]] == []


def anchors(page: Path) -> set[str]:
    """The anchors that a code host gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_page
def test_the_files_that_it_names_are_there(page: Path) -> None:
    named = {name for name in PATHS.findall(page.read_text()) if not MADE.match(name)}

    assert [name for name in sorted(named) if not (ROOT / name).exists() and not (ROOT / f"{name}.py").exists()] == []


@every_page
def test_the_targets_that_it_names_are_in_the_makefile(page: Path) -> None:
    named = set(re.findall(r"(?:^    |`)make ([a-z][a-z-]*)", page.read_text(), re.MULTILINE))
    there = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    assert named - there == set()


def test_the_files_of_the_readme_are_in_git() -> None:
    named = [name for name in PATHS.findall((ROOT / "README.md").read_text()) if not MADE.match(name)]
    unknown = subprocess.run(["git", "ls-files", "--error-unmatch", *named], cwd=ROOT, capture_output=True, text=True, check=False)

    assert unknown.stderr == ""
