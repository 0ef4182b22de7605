"""Runs on disk: what was written is read back the same, and what is not a run is refused in one line."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from loadtest.records.histogram import HIGHEST_US, Histogram
from loadtest.records.store import MANIFEST, RECORDS, RunError, Store
from tests.loadtest.synthetic import manifest, run, stored


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    plan = manifest(("sync", "gthread"), ("json",), blocks=1)
    stored(tmp_path / "run", plan, run(plan, {}))
    return tmp_path / "run"


def test_a_run_is_read_back_as_it_was_written(folder: Path) -> None:
    plan = manifest(("sync", "gthread"), ("json",), blocks=1)

    assert Store(folder).manifest() == plan
    assert Store(folder).records() == run(plan, {})


def test_a_line_that_was_being_written_when_the_run_was_killed_is_no_record(folder: Path) -> None:
    before = Store(folder).records()
    with (folder / RECORDS).open("a") as file:
        file.write('{"kind": "slice", "workl')

    assert Store(folder).records() == before


def _edit(name: str, **changes: object) -> Callable[[Path], None]:
    """Change the file of one object, or the fourth line of the other: a slice."""

    def edit(folder: Path) -> None:
        lines = [(folder / name).read_text()] if name == MANIFEST else (folder / name).read_text().splitlines()
        lines[-1] = json.dumps(json.loads(lines[-1]) | changes)
        (folder / name).write_text("\n".join(lines) + "\n")

    return edit


def _nonsense(folder: Path) -> None:
    path = folder / RECORDS
    path.write_text(re.sub(r'"slip":"[^"]*"', '"slip":"nonsense"', path.read_text()))


def _cut(folder: Path) -> None:
    path = folder / RECORDS
    path.write_text(path.read_text().replace('"kind":"slice"', '"kind":"sli', 1))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (_cut, r"records.jsonl, line 3 is not complete"),
        (_edit(RECORDS, bloc=2), r"records.jsonl, line \d+: slice.bloc: Unexpected"),
        (_edit(RECORDS, kind="cell"), r"records.jsonl, line \d+: : Input tag 'cell'"),
        (_nonsense, r"slice.recording.slip: Value error, not an HdrHistogram"),
        (_edit(MANIFEST, seed="many"), "seed: Input should be a valid integer"),
        (_edit(MANIFEST, format=2), "manifest.json has format 2; this version reads 3"),
        (lambda folder: (folder / MANIFEST).write_text('{"format": 3, "run'), "manifest.json is not complete"),
        (lambda folder: (folder / RECORDS).unlink(), "has no records any more"),
    ],
)
def test_a_harmed_run_is_refused_and_named(folder: Path, harm: Callable[[Path], object], message: str) -> None:
    harm(folder)
    store = Store(folder)

    with pytest.raises(RunError, match=message):
        print(store.manifest(), store.records())


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
