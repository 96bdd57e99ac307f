"""Throw-away keys of one control plane: an authority, one certificate for loopback, one key for tokens."""

from __future__ import annotations

import datetime
import ipaddress
import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = datetime.timedelta(days=2)


def write_private(path: Path, content: bytes) -> Path:
    """Write a file that only its owner may read; return its path."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    return path


def write_certificates(folder: Path) -> None:
    """Write ``ca.crt``, ``tls.crt``, ``tls.key`` (loopback; server and client) and ``sa.key`` into ``folder``."""
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _certificate("tonnage-rehearsal", authority_key, None, authority_key)
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = _certificate("loopback", key, authority, authority_key)
    write_private(folder / "ca.crt", authority.public_bytes(Encoding.PEM))
    write_private(folder / "tls.crt", leaf.public_bytes(Encoding.PEM))
    write_private(folder / "tls.key", _pem(key))
    write_private(folder / "sa.key", _pem(ec.generate_private_key(ec.SECP256R1())))


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: x509.Certificate | None, issuer_key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    """Return an authority (no ``issuer``) or a loopback certificate signed by one."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),  # type: ignore[arg-type]
            critical=False,
        )
    )
    if issuer:
        both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        names = x509.SubjectAlternativeName(
            [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        )
        builder = builder.add_extension(both, critical=False).add_extension(names, critical=False)
    else:
        builder = builder.add_extension(_may_sign(), critical=True)
    return builder.sign(issuer_key, hashes.SHA256())


def _may_sign() -> x509.KeyUsage:
    """Return the usage of an authority."""
    return x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
