"""Certificates with their keys, right ones and wrong ones."""

import datetime as dt
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NAMES = ("localhost", "www.example.org")
DAY = dt.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Pair:
    """Where certificate and key lie, in PEM."""

    certificate: Path
    key: Path

    def replace_by(self, other: "Pair") -> None:
        """Put the other pair in the place of this one, as a renewal does: the key first, each file in one step."""
        for old, new in ((self.key, other.key), (self.certificate, other.certificate)):
            fresh = old.with_suffix(".fresh")
            fresh.write_bytes(new.read_bytes())
            fresh.replace(old)

    @property
    def serial(self) -> int:
        return x509.load_pem_x509_certificate(self.certificate.read_bytes()).serial_number


def make_pair(folder: Path, *, days: float = 30, names: tuple[str, ...] = NAMES, passphrase: bytes = b"") -> Pair:
    """Make a self-signed certificate that ends in so many days; before today when that is negative."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    until = dt.datetime.now(dt.UTC) + days * DAY
    alternatives = [*map(x509.DNSName, names), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(until - 60 * DAY)
        .not_valid_after(until)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encryption = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    folder.mkdir(exist_ok=True)
    pair = Pair(folder / "fullchain.pem", folder / "privkey.pem")
    pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pair.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))
    return pair
