"""Serve what the workers count: the sum of all containers, and the gauges of those workers alone that live."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector

from gunicorn_hooks.metrics import lock


class Workers:
    """The files of METRICS_DIR."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def is_left_over(self, file: Path) -> bool:
        """Say whether this is a gauge of a worker that is gone, and whose number nobody has taken yet."""
        if not file.name.startswith("gauge_live") or (free := lock(self.folder, int(file.stem.rpartition("_")[2]))) is None:
            return False
        os.close(free)
        return True

    def collect(self) -> Iterator[Any]:
        """Add up the files."""
        yield from MultiProcessCollector.merge([str(file) for file in self.folder.glob("*.db") if not self.is_left_over(file)])


if __name__ == "__main__":
    registry = CollectorRegistry()
    registry.register(Workers(Path(os.environ["METRICS_DIR"])))
    start_http_server(int(os.environ.get("PORT", "9100")), registry=registry)
    signal.pause()
