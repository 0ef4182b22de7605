"""testssl.sh on the TLS variant: no finding above LOW but those that only a certificate from no public authority has, and grade A.

In Compose with the testssl.sh of the image's Debian, which gives a grade; else with this machine's.
"""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.gateways import Gateways
from tests.nginx.gateway import ROOT
from tests.smuggling.wire import Recorder
from tests.tls.conftest import start
from tests.tls.pairs import Pair
from tests.tls.tls import TlsGateway

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

HARMLESS = {"OK", "INFO", "LOW", "DEBUG"}
LEFT_OUT = {
    # What is said of a certificate that no public authority signed: not of the configuration.
    "cert_chain_of_trust",
    "cert_revocation",
    "cert_crlDistributionPoints",
    "cert_caIssuers",
    "cert_ocspURL",
    "OCSP_stapling",
    "DNS_CAArecord",
    "certificate_transparency",
    # Of the scanner itself: its openssl knows no GOST.
    "engine_problem",
}
# 3.0 wants the server to choose the cipher. The guidelines leave that to the client where each one is safe, and so does 3.2.
LEFT_OUT_OF_3_0 = {"cipher_order"}
GRADES = {"A", "A+"}

Scan = Callable[[TlsGateway, Path], str]


@pytest.fixture
def gateway(start_gateway: Gateways, recorder: Recorder, tmp_path: Path) -> TlsGateway:
    """The variant with the certificate that the kit makes for development."""
    folder = tmp_path / "pair"
    folder.mkdir()
    subprocess.run([ROOT / "nginx/certificate", "make", folder, "localhost", "127.0.0.1"], check=True, capture_output=True)
    return start(start_gateway, recorder.address, Pair(folder / "fullchain.pem", folder / "privkey.pem"), {})


@pytest.fixture
def testssl(runtime: str, command: Callable[[str], str], tmp_path: Path) -> Iterator[list[str]]:
    """The command, up to its arguments."""
    if runtime == "local":
        yield [command("testssl")]
        return
    image = f"kit-testssl-{os.getpid()}"
    subprocess.run(["docker", "build", "--quiet", "--tag", image, Path(__file__).parent / "testssl"], check=True, capture_output=True)
    yield ["docker", "run", "--rm", "--init", "--network", "host", "--volume", f"{tmp_path}:{tmp_path}", image]
    subprocess.run(["docker", "image", "rm", image], check=True, capture_output=True)


def test_no_finding_above_low(gateway: TlsGateway, testssl: list[str], runtime: str, tmp_path: Path, note: Callable[[str], None]) -> None:
    report = tmp_path / "testssl.json"
    arguments = ["--quiet", "--color", "0", "--warnings", "off", "--nodns", "min", "--ip", "127.0.0.1", "--jsonfile", str(report)]
    trust = ["--add-ca", str(gateway.authority)]
    done = subprocess.run([*testssl, *arguments, *trust, gateway.url], capture_output=True, text=True, check=False)
    assert report.exists(), done.stdout + done.stderr
    findings = {finding["id"]: finding for finding in json.loads(report.read_text())}
    grade = findings.get("overall_grade", {}).get("finding", "")
    caps = [finding["finding"] for name, finding in findings.items() if name.startswith("grade_cap_reason")]
    left_out = LEFT_OUT | ({"overall_grade"} if grade in GRADES else LEFT_OUT_OF_3_0)
    above = {name: finding for name, finding in findings.items() if finding["severity"] not in HARMLESS and name not in left_out}
    note(f"testssl.sh ({runtime}): {len(findings)} findings, above LOW: {sorted(above) or 'none'}, grade {grade or 'not given'} {caps}")

    assert len(findings) > 50, done.stdout + done.stderr
    assert above == {}
    assert grade in GRADES or (not grade and runtime == "local")
