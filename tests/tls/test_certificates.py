"""nginx/certificate: a pair that cannot be used is named in one line, and what is being served goes on."""

import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.clients import wait_until
from tests.nginx.gateway import PATH, ROOT, check
from tests.tls.conftest import StartTls
from tests.tls.pairs import Pair, make_pair
from tests.tls.tls import TlsGateway

TOOL = ROOT / "nginx" / "certificate"
Break = Callable[[Pair], object]


def start_with(folder: Path, pair: Pair, **more: str) -> subprocess.CompletedProcess[str]:
    """Start the gateway with TLS as far as `nginx -t`, on this machine."""
    return check(folder / "gateway", {"LISTENERS": "tls", **more}, tls=pair.certificate.parent)


def foreign_key(pair: Pair) -> None:
    pair.key.write_bytes(make_pair(pair.key.parent / "other").key.read_bytes())


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda pair: pair.certificate.unlink(), "fullchain.pem is missing"),
        (lambda pair: pair.key.unlink(), "privkey.pem is missing"),
        (lambda pair: pair.certificate.write_text("nonsense"), "fullchain.pem is no certificate in PEM"),
        (lambda pair: pair.certificate.write_bytes(pair.key.read_bytes()), "fullchain.pem is no certificate in PEM"),
        (lambda pair: pair.key.write_text(""), "privkey.pem is no private key in PEM"),
        (lambda pair: make_pair(pair.key.parent, passphrase=b"secret"), "privkey.pem is no private key in PEM, or has a passphrase"),
        (foreign_key, "privkey.pem is not the key of"),
    ],
)
def test_a_pair_that_cannot_be_used_stops_the_start(tmp_path: Path, spoil: Break, says: str) -> None:
    pair = make_pair(tmp_path / "pair")
    spoil(pair)
    done = start_with(tmp_path, pair)

    (line,) = [line for line in done.stderr.splitlines() if line.startswith("certificate: ")]
    assert done.returncode == 2
    assert says in line


@pytest.mark.parametrize("which", ["certificate", "key"])
def test_a_file_that_cannot_be_read_is_named_with_the_right_mode(tmp_path: Path, which: str) -> None:
    pair = make_pair(tmp_path / "pair")
    path: Path = getattr(pair, which)
    path.chmod(0)
    tmp_path.chmod(0o755)
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", str(TOOL), "install"]
    # As root every file can be read, so somebody else asks.
    for folder in tmp_path.parents:
        if folder.stat().st_uid == Path("/tmp").stat().st_uid and folder != Path("/"):  # noqa: S108
            folder.chmod(folder.stat().st_mode | 0o011)
    done = subprocess.run(
        [*command, str(pair.certificate), str(pair.key), str(tmp_path / "copies")],
        env={"PATH": PATH},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert f"{path} cannot be read by user 65534: chown 65534, mode 400" in done.stderr


def test_an_expired_one_is_served_and_named(start_tls: StartTls, tmp_path: Path) -> None:
    """Without nginx the way to a new one by HTTP-01 would be closed too."""
    pair = make_pair(tmp_path / "pair", days=-1)
    done = start_with(tmp_path, pair)

    assert done.returncode == 0
    assert "fullchain.pem has expired on 20" in done.stderr
    gateway = start_tls(pair)
    assert gateway.serial() == pair.serial


def test_a_name_that_the_certificate_lacks_is_named(tmp_path: Path) -> None:
    done = start_with(tmp_path, make_pair(tmp_path / "pair"), SERVER_NAMES="localhost shop.example.org 10.0.0.1")

    assert done.returncode == 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("certificate: ")]
    assert ["shop.example.org" in lines[0], "10.0.0.1" in lines[1], len(lines)] == [True, True, 2]


# --- While nginx runs


def has_said(gateway: TlsGateway, words: str) -> bool:
    return words in gateway.plain.error_log()


def test_bad_renewals_change_nothing_and_a_good_one_is_taken_once(start_tls: StartTls, tmp_path: Path) -> None:
    pair = make_pair(tmp_path / "pair")
    served, gateway = pair.serial, start_tls(pair)
    bad: list[tuple[Break, str]] = [
        (lambda pair: pair.certificate.unlink(), "is missing"),
        (lambda pair: pair.replace_by(make_pair(tmp_path / "expired", days=-1)), "has expired on"),
        (foreign_key, "is not the key of"),
        (lambda pair: pair.certificate.write_text("half"), "is no certificate"),
    ]
    for spoil, says in bad:
        spoil(pair)
        wait_until(partial(has_said, gateway, says), says)
        assert gateway.serial() == served

    good = make_pair(tmp_path / "good")
    pair.replace_by(good)
    wait_until(lambda: gateway.serial() == good.serial, "the new certificate is shown")
    pair.certificate.unlink()
    wait_until(lambda: gateway.plain.error_log().count("is missing") == 2, "it says so again")
    lines = [line for line in gateway.plain.error_log().splitlines() if line.startswith("certificate: ") and "does not hold" not in line]
    assert sum("a new one is in use" in line for line in lines) == 1
    assert len(lines) == len(bad) + 2, lines


def test_what_looks_at_the_files_ends_with_nginx(start_tls: StartTls, tmp_path: Path) -> None:
    pair = make_pair(tmp_path / "pair")
    gateway = start_tls(pair)
    gateway.plain.stop()
    said = gateway.plain.error_log()
    pair.certificate.unlink()
    wait_until(lambda: not watchers(pair), "it has ended")

    assert gateway.plain.error_log() == said


def watchers(pair: Pair) -> list[int]:
    """The processes, in whichever container, that look at these files."""
    lines = (process.info for process in psutil.process_iter(["pid", "cmdline"]))
    return [line["pid"] for line in lines if str(pair.certificate) in (line["cmdline"] or [])]


@pytest.mark.runtimes("local")
def test_without_the_copies_a_lost_file_stops_the_next_reload(start_tls: StartTls, tmp_path: Path) -> None:
    """The negative twin: nginx given the user's own files, as in most configurations."""
    pair = make_pair(tmp_path / "pair")
    gateway = start_tls(pair)
    conf = gateway.plain.folder / "run" / "conf" / "tls" / "servers.conf"
    text = conf.read_text()
    copies = gateway.plain.folder / "run" / "tls"
    conf.write_text(text.replace(str(copies / "certificate.pem"), str(pair.certificate)).replace(str(copies / "key.pem"), str(pair.key)))
    test = ["nginx", "-e", "stderr", "-t", "-c", str(gateway.plain.folder / "conf" / "nginx.conf")]
    environment = {"PATH": PATH}

    assert subprocess.run(test, env=environment, capture_output=True, check=False).returncode == 0
    away = pair.certificate.rename(tmp_path / "away.pem")
    assert subprocess.run(test, env=environment, capture_output=True, check=False).returncode == 1
    away.rename(pair.certificate)  # or this very gateway could not be told to stop


# --- For development


def test_one_command_makes_one_for_development(tmp_path: Path, start_tls: StartTls) -> None:
    make = [str(TOOL), "make", str(tmp_path), "localhost", "127.0.0.1", "[::1]", "*.example.org"]
    made = subprocess.run(make, capture_output=True, text=True, check=False)
    pair = Pair(tmp_path / "fullchain.pem", tmp_path / "privkey.pem")
    serial = pair.serial

    assert made.returncode == 0
    assert "self-signed" in made.stderr
    assert pair.key.stat().st_mode & 0o77 == 0
    assert TlsGateway.get(start_tls(pair)).status == 200
    # It is kept: browsers were told to trust this one.
    assert subprocess.run(make, capture_output=True, check=False).returncode == 0
    assert pair.serial == serial


def test_one_that_is_there_and_wrong_is_not_written_over(tmp_path: Path) -> None:
    pair = make_pair(tmp_path)
    foreign_key(pair)
    before = pair.certificate.read_bytes(), pair.key.read_bytes()
    made = subprocess.run([str(TOOL), "make", str(tmp_path), "localhost"], capture_output=True, text=True, check=False)

    assert made.returncode == 2
    assert "is not the key of" in made.stderr
    assert (pair.certificate.read_bytes(), pair.key.read_bytes()) == before
