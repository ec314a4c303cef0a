"""Certificates for one test run."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LOOPBACK = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))


class Authority:
    """Signs certificates; ``ca`` is the path of its own.

    Args:
        by: who signs its own; None: itself.
        terse: what it signs has nothing but a name and what it is for, as with many an authority of a house.
    """

    def __init__(
        self, directory: Path, name: str = "Test Authority", *, by: Authority | None = None, terse: bool = False
    ) -> None:
        self._directory = directory
        self._terse = terse
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signed = (by or self)._sign(self._name, self._key.public_key(), ca=True)
        self.ca = str(directory / f"{name}.pem")
        Path(self.ca).write_bytes(signed.public_bytes(serialization.Encoding.PEM))

    def issue(self, common_name: str) -> tuple[str, str]:
        """Paths of a certificate for ``common_name``, localhost and 127.0.0.1, and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Broker, Inc."),
                x509.NameAttribute(NameOID.COMMON_NAME, common_name),
            ]
        )
        signed = self._sign(subject, key.public_key(), ca=False)
        paths = self._directory / f"{common_name}.crt", self._directory / f"{common_name}.key"
        paths[0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        paths[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return str(paths[0]), str(paths[1])

    def _sign(self, subject: x509.Name, public: ec.EllipticCurvePublicKey, *, ca: bool) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        extensions: list[tuple[x509.ExtensionType, bool]] = []
        if ca:
            extensions.append((x509.BasicConstraints(ca=True, path_length=None), True))
        else:
            extensions.append((x509.SubjectAlternativeName([x509.DNSName("localhost"), LOOPBACK]), False))
        if not self._terse:  # RFC 5280 section 4.2.1 asks for these
            extensions.append((x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False))
            extensions.append((x509.SubjectKeyIdentifier.from_public_key(public), False))
            extensions.append((_usage(signs=ca), True))
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(self._key, hashes.SHA256())


def server_context(authority: Authority, *, client_ca: bool = False) -> ssl.SSLContext:
    """That of a server; ``client_ca``: which asks clients for theirs."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("server"))
    if client_ca:
        context.load_verify_locations(authority.ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
