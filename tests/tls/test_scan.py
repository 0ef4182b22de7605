"""testssl.sh on the TLS variant: no finding above LOW, beside those that only a self-signed certificate has."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tls.tls import TlsGateway

pytestmark = pytest.mark.bench

HARMLESS = {"OK", "INFO", "LOW", "DEBUG"}
# What is said of a certificate that no authority signed: not of the configuration.
OF_A_SELF_SIGNED_CERTIFICATE = {
    "cert_chain_of_trust",
    "cert_revocation",
    "cert_crlDistributionPoints",
    "cert_caIssuers",
    "cert_ocspURL",
    "OCSP_stapling",
    "DNS_CAArecord",
    "certificate_transparency",
    "grade_cap_reason_1",
    "overall_grade",
}


@pytest.mark.timeout(600)
def test_no_finding_above_low(gateway: TlsGateway, command: Callable[[str], str], tmp_path: Path, note: Callable[[str], None]) -> None:
    report = tmp_path / "testssl.json"
    arguments = ["--quiet", "--color", "0", "--warnings", "off", "--nodns", "min", "--ip", "127.0.0.1", "--jsonfile", str(report)]
    done = subprocess.run([command("testssl"), *arguments, gateway.url], capture_output=True, text=True, check=False)
    findings = json.loads(report.read_text())
    serious = [finding for finding in findings if finding["severity"] not in HARMLESS and finding["id"] not in OF_A_SELF_SIGNED_CERTIFICATE]
    grade = next((finding["finding"] for finding in findings if finding["id"] == "overall_grade"), "none")
    note(f"testssl.sh: {len(findings)} findings, {len(serious)} above LOW, grade {grade}")

    assert len(findings) > 50, done.stdout + done.stderr
    assert serious == []
