"""A dashboard by Dash: a table that follows an input, by Dash's own JSON calls."""

from dash import Dash, Input, Output, callback, dash_table, dcc, html
from flask import Flask

server = Flask(__name__)
app = Dash(__name__, server=server, title="Prices")
ROWS = [{"product": f"product {number}", "price": number * 1.5} for number in range(200)]
app.layout = html.Div(
    [
        html.H1("Prices"),
        dcc.Input(id="filter", value="", placeholder="product", debounce=False),
        dcc.Dropdown(["price", "product"], "price", id="order"),
        html.P(id="count"),
        dash_table.DataTable(id="table", page_size=20),
    ]
)


@callback(Output("table", "data"), Output("count", "children"), Input("filter", "value"), Input("order", "value"))
def rows(text: str, order: str) -> tuple[list[dict[str, object]], str]:
    """Return the rows whose product has this text, ordered by a column."""
    found = [row for row in ROWS if (text or "") in str(row["product"])]
    return sorted(found, key=lambda row: row[order or "price"]), f"{len(found)} rows"


@server.get("/healthz")
def healthz() -> str:
    """Answer without asking anything."""
    return "ok"
