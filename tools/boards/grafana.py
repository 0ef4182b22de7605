"""The boards as Grafana's JSON, made with its foundation SDK."""

from pathlib import Path

from grafana_foundation_sdk.builders import common, dashboard, prometheus, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from tools.boards import BOARDS, Board

SOURCE = models.DataSourceRef(type_val="prometheus", uid="${source}")
HIGH, WIDE = 8, 8  # of 24 columns: three beside each other


def write(folder: Path) -> None:
    for board in BOARDS:
        text = JSONEncoder(sort_keys=True, indent=1).encode(made(board).build())
        (folder / f"{board.name}.json").write_text(text + "\n")


def made(board: Board) -> dashboard.Dashboard:
    """Have the user's Prometheus as a variable: its id in a Grafana is not known here."""
    built = (
        dashboard.Dashboard(f"Flask kit: {board.title}")
        .uid(f"flask-kit-{board.name}")
        .tags(["flask-kit"])
        .refresh("30s")
        .time("now-1h", "now")
    )
    built = built.with_variable(dashboard.DatasourceVariable("source").type("prometheus").label("Prometheus"))
    for panel in board.panels:
        drawn = (
            timeseries.Panel().title(panel.title).description(panel.says).unit(panel.unit).min(0).datasource(SOURCE).height(HIGH).span(WIDE)
        )
        drawn = drawn.legend(common.VizLegendOptions().show_legend(True))
        for letter, (name, query) in enumerate(panel.queries.items(), ord("A")):
            drawn = drawn.with_target(
                prometheus.Dataquery().expr(query.replace("RATE", "$__rate_interval")).legend_format(name).ref_id(chr(letter))
            )
        built = built.with_panel(drawn)
    return built
