"""`python -m tools.boards overview`: what Prometheus knows, as a page. `python -m tools.boards dashboards`: Grafana's JSON."""

import os
import sys
from pathlib import Path

import click

HERE = Path(__file__).resolve().parents[2]


@click.group()
def main() -> None:
    """Show metrics."""


@main.command()
@click.option("--url", default=lambda: f"http://127.0.0.1:{os.environ.get('PROMETHEUS_PORT') or 9090}", help="Of Prometheus")
@click.option("--minutes", default=60.0, type=click.FloatRange(1, 100_000), help="So many until now")
@click.option("--out", default="overview", help="The page, without .html")
def overview(url: str, minutes: float, out: str) -> None:
    """Write what Prometheus knows as a page that can be read offline."""
    from tools.boards.page import write

    try:
        click.echo(write(Path(out), url.rstrip("/"), minutes))
    except (OSError, ValueError) as error:
        print(f"{url} is no Prometheus that answers ({error}): start it with compose/metrics.yaml, or name it: --url", file=sys.stderr)
        raise SystemExit(1) from None


@main.command()
@click.argument("folder", default=HERE / "docs/dashboards", type=click.Path(path_type=Path, exists=True, file_okay=False))
def dashboards(folder: Path) -> None:
    """Write Grafana's dashboards."""
    from tools.boards.grafana import write

    write(folder)


if __name__ == "__main__":
    main()
