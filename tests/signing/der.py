"""Certificates and keys that no library writes: just enough DER (X.690) to be wrong in one place."""

from __future__ import annotations

import base64
from collections.abc import Callable

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

UTF8, PRINTABLE, BIT_STRING = 12, 19, 3
COMMON_NAME, COUNTRY, UNIQUE_ID = "2.5.4.3", "2.5.4.6", "2.5.4.45"
_ECDSA_SHA256, _ECDSA_SHA1 = "1.2.840.10045.4.3.2", "1.2.840.10045.4.1"


def tlv(tag: int, *parts: bytes) -> bytes:
    """Return tag, length and value."""
    body = b"".join(parts)
    if len(body) < 128:
        return bytes([tag, len(body)]) + body
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(size)]) + size + body


def integer(number: int) -> bytes:
    return tlv(2, number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True))


def oid(text: str) -> bytes:
    first, second, *rest = map(int, text.split("."))
    out = bytes([40 * first + second])
    for number in rest:
        groups = [number & 0x7F]
        while number := number >> 7:
            groups.append(0x80 | number & 0x7F)
        out += bytes(reversed(groups))
    return tlv(6, out)


def name(text: bytes, tag: int = UTF8, kind: str = COMMON_NAME) -> bytes:
    """Return a name of one attribute."""
    return tlv(0x30, tlv(0x31, tlv(0x30, oid(kind), tlv(tag, text))))


def certificate(
    subject: bytes,
    issuer: bytes,
    own: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    *,
    ca: bool = False,
    serial: int = 4711,
    parameters: bytes = b"",
    sha1: bool = False,
) -> bytes:
    """Return a certificate in DER form, valid from 2020 to 2039."""
    algorithm = tlv(0x30, oid(_ECDSA_SHA1 if sha1 else _ECDSA_SHA256), parameters)
    usage = tlv(0x30, oid("2.5.29.15"), tlv(1, b"\xff"), tlv(4, tlv(3, b"\x01\x06" if ca else b"\x07\x80")))
    basic = tlv(0x30, oid("2.5.29.19"), tlv(1, b"\xff"), tlv(4, tlv(0x30, tlv(1, b"\xff"))))
    signed = tlv(
        0x30,
        tlv(0xA0, integer(2)),
        integer(serial),
        algorithm,
        issuer,
        tlv(0x30, tlv(0x17, b"200101000000Z"), tlv(0x17, b"390101000000Z")),
        subject,
        own.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        tlv(0xA3, tlv(0x30, usage, *([basic] if ca else []))),
    )
    signature = signer.sign(signed, ec.ECDSA(hashes.SHA1() if sha1 else hashes.SHA256()))  # on purpose
    return tlv(0x30, signed, algorithm, tlv(3, b"\0" + signature))


def revocation_list(issuer: bytes, signer: ec.EllipticCurvePrivateKey, *, has_end: bool = True) -> bytes:
    """Return an empty revocation list in DER form, current from 2020 to 2039 or without an end."""
    algorithm = tlv(0x30, oid(_ECDSA_SHA256))
    dates = tlv(0x17, b"200101000000Z"), tlv(0x17, b"390101000000Z") if has_end else b""
    signed = tlv(0x30, integer(1), algorithm, issuer, *dates)
    return tlv(0x30, signed, algorithm, tlv(3, b"\0" + signer.sign(signed, ec.ECDSA(hashes.SHA256()))))


def sec1(key: ec.EllipticCurvePrivateKey, shorten: Callable[[bytes], bytes]) -> bytes:
    """Return a key in the form of SEC 1, its number written as `shorten` makes it."""
    number = shorten(key.private_numbers().private_value.to_bytes(32, "big"))
    return tlv(0x30, integer(1), tlv(4, number), tlv(0xA0, oid("1.2.840.10045.3.1.7")))


def pem(label: str, der: bytes) -> bytes:
    return f"-----BEGIN {label}-----\n".encode() + base64.encodebytes(der) + f"-----END {label}-----\n".encode()
