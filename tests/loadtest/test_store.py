"""Runs on disk: what was written is read back the same, and what is not a run is refused in one line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from loadtest.records.histogram import HIGHEST_US, Histogram
from loadtest.records.store import RunError, Store
from tests.loadtest.synthetic import manifest, run, stored


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    plan = manifest(("sync", "gthread"), ("json",), blocks=1)
    stored(tmp_path / "run", plan, run(plan, {}))
    return tmp_path / "run"


def test_a_run_is_read_back_as_it_was_written(folder: Path) -> None:
    plan = manifest(("sync", "gthread"), ("json",), blocks=1)

    assert Store(folder).manifest() == plan
    assert Store(folder).cells() == sorted(run(plan, {}), key=lambda c: (c.workload, c.candidate, c.kind))


def _cut(folder: Path) -> None:
    path = folder / "cells" / "json.sync.knee.b00.a1.json"
    path.write_text(path.read_text()[:200])


def _edit(name: str, **changes: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return edit


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (_cut, "json.sync.knee.b00.a1.json is not complete"),
        (lambda folder: (folder / "cells" / ".x.partial").touch(), "was never finished"),
        (
            lambda folder: (folder / "cells" / "json.sync.knee.b00.a1.json").rename(folder / "cells" / "other.json"),
            "other.json holds json.sync",
        ),
        (_edit("cells/json.sync.knee.b00.a1.json", format=3), "has format 3; this version reads 2"),
        (_edit("cells/json.sync.knee.b00.a1.json", bloc=2), "bloc: Unexpected"),
        (_edit("manifest.json", seed="many"), "seed: Input should be a valid integer"),
    ],
)
def test_a_harmed_run_is_refused_and_named(folder: Path, harm: Callable[[Path], object], message: str) -> None:
    harm(folder)
    store = Store(folder)

    with pytest.raises(RunError, match=message):
        print(store.manifest(), store.cells())


def test_a_recording_that_is_none_is_refused(folder: Path) -> None:
    path = folder / "cells" / "json.sync.knee.b00.a1.json"
    data = json.loads(path.read_text())
    data["steps"][0]["recording"]["slip"] = "nonsense"
    path.write_text(json.dumps(data))

    with pytest.raises(RunError, match=r"steps\.0\.recording\.slip: Value error, not an HdrHistogram"):
        Store(folder).cells()


def test_folders_that_are_no_runs_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "holiday.jpg").touch()

    for name, message in (("away", "there is no run"), ("empty", "is empty"), ("foreign", "is not a run of this load test")):
        with pytest.raises(RunError, match=message) as caught:
            Store(tmp_path / name).manifest()
        assert caught.value.exit_code == 2
    with pytest.raises(RunError, match="is not empty"):
        Store.create(tmp_path / "foreign", manifest(("sync",), ("json",)))


def test_histograms_are_exact_to_three_digits_and_merge() -> None:
    durations_s = [0.0005 * number for number in range(1, 2001)]
    whole = Histogram.of_seconds(durations_s)
    halves = Histogram.merged([Histogram.of_seconds(durations_s[::2]), Histogram.of_seconds(durations_s[1::2])])

    assert Histogram.decode(whole.encode()).quantiles_ms([0.5, 0.99]) == whole.quantiles_ms([0.5, 0.99])
    assert halves.encode() == whole.encode()
    assert whole.quantile_ms(0.99) == pytest.approx(990, rel=0.002)
    assert whole.mean_ms == pytest.approx(500.25, rel=0.002)
    assert whole.quantile_ms(1.0) == pytest.approx(1000, rel=0.002)
    assert Histogram().quantiles_ms([0.5]) == [0.0]
    with pytest.raises(ValueError, match="not an HdrHistogram"):
        Histogram.decode("aGVsbG8=")


def test_recording_in_bulk_counts_as_the_library_does() -> None:
    from hdrh.histogram import HdrHistogram

    values_us = [1, 2, 1023, 1024, 2047, 2048, 2049, 4095, 4096, 999_999, 1_000_000, 123_456_789, HIGHEST_US]
    theirs = HdrHistogram(1, HIGHEST_US, 3)
    for value in values_us:
        theirs.record_value(value)

    assert Histogram.of_seconds([value / 1e6 for value in values_us]).encode() == theirs.encode().decode()


def test_other_tools_read_the_encoding() -> None:
    """The V2 encoding is what HdrHistogram writes in every language: here its own Python library reads it."""
    from hdrh.histogram import HdrHistogram

    text = Histogram.of_seconds([0.001, 0.002]).encode()

    assert HdrHistogram.decode(text).get_total_count() == 2
