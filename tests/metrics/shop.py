"""A Flask application of somebody else's, with a metric of its own where prometheus-client is asked for."""

import os
import sys
from pathlib import Path

from flask import Flask

from tests.clients import wait_until

app = Flask(__name__)
if os.environ.get("METRICS_DIR"):
    from prometheus_client import Counter

    SOLD = Counter("shop_sold", "Things sold.")


@app.get("/")
def index() -> str:
    return str("prometheus_client" in sys.modules)


@app.get("/things/<int:number>")
def thing(number: int) -> str:
    return str(1 // number)


@app.post("/things")
def sell() -> str:
    SOLD.inc()
    return "sold"


@app.get("/slow")
def slow() -> str:
    wait_until(Path("release").exists, "released")
    return str(os.getpid())


for place in range(300):
    app.add_url_rule(f"/many/{place}", f"many_{place}", index)
