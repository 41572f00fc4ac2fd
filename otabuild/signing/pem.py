"""PEM files: their blocks, and what to do about a file of the wrong kind.

People hand over what their CA or key store gave them. A message must say what a file is, and its
advice must work on exactly that file.
"""

from __future__ import annotations

import base64
import codecs
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from otabuild.errors import InputError

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)
_CERTIFICATE = ("CERTIFICATE", "X509 CERTIFICATE")
_LIST = "X509 CRL"
_NOT_LISTS = "contains something other than complete revocation lists"
_SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")
"""The object identifier at the start of a PKCS#7 file."""
_PKCS12_VERSION = b"\x02\x01\x03"


class _Kind(NamedTuple):
    """What a file is, and advice for who wanted something else; FILE stands for its path."""

    name: str
    advice: str


_FOR_CERTIFICATE: Mapping[str, _Kind] = {
    "TRUSTED CERTIFICATE": _Kind(
        "OpenSSL's own form of a certificate",
        "`openssl x509 -in FILE -out NEW.pem` makes a plain one",
    ),
    "PKCS7": _Kind(
        "a PKCS#7 bundle",
        "`openssl pkcs7 -in FILE -print_certs -out NEW.pem` takes its certificates out",
    ),
    "CERTIFICATE REQUEST": _Kind(
        "a certificate request", "have a CA issue the certificate, and name that"
    ),
    "NEW CERTIFICATE REQUEST": _Kind(
        "a certificate request", "have a CA issue the certificate, and name that"
    ),
    "X509 CRL": _Kind("a revocation list", "it belongs to `crl`"),
    "PUBLIC KEY": _Kind("a public key", "name the certificate that a CA issued for it"),
    "PKCS12": _Kind(
        "a PKCS#12 store",
        "`openssl pkcs12 -in FILE -nokeys -out NEW.pem` takes its certificates out",
    ),
    "DER PKCS7": _Kind(
        "a PKCS#7 bundle in DER form",
        "`openssl pkcs7 -inform DER -in FILE -print_certs -out NEW.pem` takes its certificates out",
    ),
    "DER": _Kind(
        "DER", "a DER certificate becomes PEM with `openssl x509 -inform DER -in FILE -out NEW.pem`"
    ),
    "PRIVATE KEY": _Kind("a private key", "name it as `key`, and its certificate here"),
}
_FOR_KEY: Mapping[str, _Kind] = {
    "OPENSSH PRIVATE KEY": _Kind(
        "a private key in OpenSSH's own form",
        "`ssh-keygen -p -m PEM -f FILE` rewrites this file in PEM",
    ),
    "CERTIFICATE": _Kind(
        "a certificate", "name it as `certificate`, and the private key that belongs to it here"
    ),
    "PUBLIC KEY": _Kind("a public key", "name the private key that belongs to it"),
    "PKCS12": _Kind(
        "a PKCS#12 store", "`openssl pkcs12 -in FILE -nocerts -out NEW.pem` takes its key out"
    ),
    "DER": _Kind(
        "DER", "a DER key becomes PEM with `openssl pkey -inform DER -in FILE -out NEW.pem`"
    ),
    "DER PKCS7": _Kind("a PKCS#7 bundle in DER form", "name the private key"),
    "PRIVATE KEY": _Kind(
        "a private key in a form that only OpenSSL reads, such as a number without its leading "
        "zeros or a wrong label",
        "`openssl pkey -in FILE -out NEW.pem` writes it in the standard form",
    ),
}

_FOR_LIST: Mapping[str, _Kind] = {
    "CERTIFICATE": _Kind("a certificate", "it belongs to `trust` or --ca, not to `crl` or --crl"),
    "PRIVATE KEY": _Kind("a private key", "name the revocation list of the CA"),
}


def certificates_in(raw: bytes, path: str) -> list[bytes]:
    """Return the certificates of a PEM file in DER form; other blocks beside them are ignored.

    Raises:
        InputError: it has none, or one in a form of OpenSSL's own.
    """
    blocks = list(_blocks(raw))
    labels = {label for label, _ in blocks}
    if "TRUSTED CERTIFICATE" in labels or not labels.intersection(_CERTIFICATE):
        raise _wrong_kind("not a file of PEM certificates", raw, path, _FOR_CERTIFICATE)
    return [_decoded(body, path) for label, body in blocks if label in _CERTIFICATE]


def revocation_lists_in(raw: bytes, path: str) -> list[bytes]:
    """Return the DER revocation lists of a PEM file, or of DER; text around is ignored.

    Raises:
        InputError: it has something else, too, or nothing at all; that would be a list that is not
            looked at.
    """
    blocks = list(_blocks(raw))
    if any(label != _LIST for label, _ in blocks):
        raise _wrong_kind(_NOT_LISTS, raw, path, _FOR_LIST)
    if len(blocks) != raw.count(b"-----BEGIN"):
        raise InputError(
            _NOT_LISTS, where=path, observed="a block without its end", hint="fetch the file again"
        )
    if not blocks and not raw.startswith(b"\x30"):
        raise InputError(
            "not a revocation list", where=path, expected="PEM (`-----BEGIN X509 CRL-----`) or DER"
        )
    return [_decoded(body, path) for _, body in blocks] or [raw]


def _decoded(body: bytes, path: str) -> bytes:
    try:
        return base64.b64decode(body, validate=True)
    except ValueError:
        what = "a PEM block of this file is damaged: not base64"
        raise InputError(what, where=path, hint="fetch the file again") from None


def not_a_key(raw: bytes, where: str) -> InputError:
    """Return the error for PEM that holds no private key that we read."""
    return _wrong_kind("not a private key in PEM form", raw, where, _FOR_KEY)


def unfolded(secret: bytes) -> bytes:
    r"""Return the PEM in a variable, whatever a CI service did to it to mask it.

    Masked variables have no line ends: PEM travels as base64 of itself, with a literal ``\n`` for
    each line end, or with all its lines joined by spaces. What is none of these is returned as it
    is.
    """
    if b"-----BEGIN" not in secret:
        try:
            decoded = base64.b64decode(b"".join(secret.split()), validate=True)
        except ValueError:
            return secret
        return decoded if b"-----BEGIN" in decoded else secret
    lines = secret.replace(b"\\r", b"").replace(b"\\n", b"\n")
    if b"\n" in lines.strip():
        return lines
    return _BLOCK.sub(lambda found: _wrapped(found[1], found[2]), lines)


def _wrapped(label: bytes, body: bytes) -> bytes:
    text = b"".join(body.split())
    rows = [text[start : start + 64] for start in range(0, len(text), 64)]
    return b"\n".join([b"-----BEGIN " + label + b"-----", *rows, b"-----END " + label + b"-----\n"])


def _blocks(raw: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield label and base64 text of every PEM block."""
    for label, body in _BLOCK.findall(raw):
        yield label.decode(), b"".join(body.split())


def _wrong_kind(what: str, raw: bytes, where: str, kinds: Mapping[str, _Kind]) -> InputError:
    kind = next((kinds[name] for name in _names(raw) if name in kinds), None)
    if kind is None:
        hint = "PEM is text with a line `-----BEGIN …-----`; this has none that fits"
        return InputError(what, where=where, observed=_look(raw) or None, hint=hint)
    place = "FILE" if where.startswith("environment ") else shlex.quote(where)
    return InputError(
        what, where=where, observed=kind.name, hint=kind.advice.replace("FILE", place)
    )


def _names(raw: bytes) -> Iterator[str]:
    """Yield what a file may be: the labels of its PEM blocks, or else a guess at its DER."""
    for label, _ in _blocks(raw):
        yield from (label, _general(label))
    if raw[:1] != b"\x30":
        return
    if _SIGNED_DATA in raw[:32]:
        yield "DER PKCS7"
    elif _PKCS12_VERSION in raw[:8]:
        yield "PKCS12"
    else:
        yield "DER"


def _look(raw: bytes) -> str:
    """Return what can be seen of a file of no known kind; empty if that is nothing."""
    if labels := sorted({label for label, _ in _blocks(raw)}):
        return ", ".join(f"-----BEGIN {label}-----" for label in labels)[:200]
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "text in UTF-16"
    if b"-----BEGIN" in raw:
        return "a block without its end"
    return "" if raw else "an empty file"


def _general(label: str) -> str:
    """Return the label that stands for all of its kind: `PRIVATE KEY` also for `EC PRIVATE KEY`."""
    if label.endswith("PRIVATE KEY"):
        return "PRIVATE KEY"
    return "CERTIFICATE" if label in _CERTIFICATE else label
