"""index.jwt: the signature over index.json (sections 8 and 12).

A JWS in compact form, ES256. Parsing is stricter than in any client: before PyJWT sees the token,
this module refuses what two readers could understand differently and what clients in the field
refuse.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from otabuild.errors import FormatError, LimitError, TrustError
from otabuild.format import limits
from otabuild.format.certificate import parse_certificate, parse_pem_certificate, signing_key
from otabuild.format.digest import Descriptor
from otabuild.format.document import dump_json, parse_json
from otabuild.format.media_types import OCI_INDEX

NAME = "index.jwt"
SIGNATURE_SIZE = 64
"""Size of an ES256 signature in bytes: r and s, 32 bytes each, big endian."""

_BASE64URL = re.compile(rb"[A-Za-z0-9_-]*")
_PEM_BEGIN = "-----BEGIN CERTIFICATE-----"


@dataclass(frozen=True, slots=True)
class IndexToken:
    """A token that follows the format. Nothing is verified yet.

    Attributes:
        raw: the token, byte for byte.
        chain: the certificates of x5c, the signing certificate first.
        issued_at: `iat`, Unix seconds, or None if the token has none.
        image_index: the descriptor of index.json.
        signing_input: the bytes that are signed, `header.claims`.
        signature: r and s, 64 bytes.
    """

    raw: bytes
    chain: tuple[x509.Certificate, ...]
    issued_at: int | None
    image_index: Descriptor
    signing_input: bytes
    signature: bytes

    def verify_signature(self) -> None:
        """Check the signature against the key of the first certificate; s may be low or high.

        Raises:
            TrustError: the key is not P-256, or it did not sign this token.
        """
        from otabuild.format.jws import is_signed_by

        if not is_signed_by(self.raw, signing_key(self.chain[0])):
            raise TrustError(
                "the signature does not verify with the key of the first certificate", where=NAME
            )


def parse_index_jwt(raw: bytes, *, compat: bool = False) -> IndexToken:
    """Parse the bytes of index.jwt.

    Args:
        raw: the token, with nothing before or after it.
        compat: also read certificates in PEM form, as in images of early builders.

    Raises:
        FormatError: the token, its certificates or its claims do not follow the format.
        LimitError: it is larger than we read, or has too many certificates.
        TrustError: the header asks for anything but ES256 with the certificates of x5c, or the
            signature is not 64 bytes.
    """
    limits.check_length(raw, limits.JWT, "token", NAME)
    if raw != raw.rstrip():
        raise FormatError("white space after the token, which clients refuse", where=NAME)
    parts = raw.split(b".")
    if len(parts) != 3:
        raise FormatError(
            "not a compact JWS", where=NAME, observed=f"{len(parts)} parts", expected="3"
        )
    header, claims, signature = (
        _decode(part, f"{NAME}: {name}")
        for part, name in zip(parts, ("header", "claims", "signature"), strict=True)
    )
    x5c = _check_header(parse_json(header, f"{NAME}: header"))
    issued_at, image_index = _check_claims(parse_json(claims, f"{NAME}: claims"))
    if len(signature) != SIGNATURE_SIZE:
        raise TrustError(
            "the signature is not a raw ES256 signature",
            where=NAME,
            observed=f"{len(signature)} bytes",
            expected=SIGNATURE_SIZE,
        )
    chain = tuple(
        _certificate(text, f"{NAME}: x5c[{i}]", compat=compat) for i, text in enumerate(x5c)
    )
    return IndexToken(raw, chain, issued_at, image_index, raw.rpartition(b".")[0], signature)


def signing_input(index_json: bytes, issued_at: int, chain: Sequence[x509.Certificate]) -> bytes:
    """Return the bytes to sign: header and claims of the token for this index.json.

    Args:
        index_json: index.json, byte for byte, including signed-at.
        issued_at: `iat`, Unix seconds.
        chain: the signing certificate first, then every intermediate, without the root.

    Raises:
        TrustError: the signing key is not P-256.
    """
    from otabuild.format.jws import encode_unsigned

    claims = {"iat": issued_at, "image_index": Descriptor.of(index_json, OCI_INDEX).to_value()}
    x5c = [
        base64.b64encode(certificate.public_bytes(Encoding.DER)).decode() for certificate in chain
    ]
    return encode_unsigned(dump_json(claims), signing_key(chain[0]), {"x5c": x5c})


def parse_signing_input(signed: bytes) -> IndexToken:
    """Return the content of a signing input as an unsigned token (its signature is all zeros).

    Raises:
        FormatError, LimitError, TrustError: it does not follow the format.
    """
    return parse_index_jwt(
        signed + b"." + base64.urlsafe_b64encode(bytes(SIGNATURE_SIZE)).rstrip(b"=")
    )


def assemble(signed: bytes, signature: bytes) -> bytes:
    """Return the token made of a signing input and its signature (r and s, 64 bytes), verified.

    Raises:
        FormatError: `signed` is not a signing input that otabuild made.
        LimitError: the chain makes the token larger than readers accept.
        TrustError: the signature was not made over these bytes with the key of the first
            certificate.
    """
    token = parse_index_jwt(signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"="))
    token.verify_signature()
    return token.raw


def _decode(part: bytes, where: str) -> bytes:
    """Decode canonical base64url without padding: each value has exactly one text."""
    if _BASE64URL.fullmatch(part) and len(part) % 4 != 1:
        decoded = base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))
        if base64.urlsafe_b64encode(decoded).rstrip(b"=") == part:
            return decoded
    raise FormatError(
        "not canonical base64url (no padding, no white space, no `+` or `/`)", where=where
    )


def _check_header(header: Any) -> list[str]:
    where = f"{NAME}: header"
    if not isinstance(header, dict):
        raise FormatError("not a JSON object", where=where)
    for name, due in (("alg", "ES256"), ("typ", "JWT")):
        if header.get(name) != due:
            raise TrustError(
                f"`{name}` is not {due}",
                where=where,
                observed=repr(header.get(name))[:80],
                expected=due,
            )
    # `jwk`, `jku`, `x5u` and `kid` may name another key than that of x5c (S11).
    unknown = sorted(header.keys() - {"alg", "typ", "x5c"})
    if unknown:
        raise TrustError(
            "parameters that are not allowed here",
            where=where,
            observed=", ".join(unknown)[:200],
            expected="alg, typ, x5c",
        )
    x5c = header.get("x5c")
    if not isinstance(x5c, list) or not x5c or not all(isinstance(text, str) for text in x5c):
        raise FormatError("`x5c` is not a list of at least one certificate", where=where)
    if len(x5c) > limits.CERTIFICATES:
        raise LimitError(
            "too many certificates in x5c",
            where=where,
            observed=len(x5c),
            expected=f"at most {limits.CERTIFICATES}",
        )
    return x5c


def _check_claims(claims: Any) -> tuple[int | None, Descriptor]:
    where = f"{NAME}: claims"
    if not isinstance(claims, dict):
        raise FormatError("not a JSON object", where=where)
    # Clients refuse any `aud`, an `nbf`, and an `exp` that has passed (section 12).
    unknown = sorted(claims.keys() - {"iat", "image_index"})
    if unknown:
        raise FormatError(
            "claims that clients refuse or ignore",
            where=where,
            observed=", ".join(unknown)[:200],
            expected="iat, image_index",
        )
    issued_at = claims.get("iat")
    if "iat" in claims and not (type(issued_at) is int and 0 <= issued_at <= limits.TIME):
        raise FormatError(
            "`iat` is not a Unix time in whole seconds", where=where, observed=repr(issued_at)[:80]
        )
    if "image_index" not in claims:
        raise FormatError("`image_index` is missing", where=where)
    image_index = Descriptor.from_value(claims["image_index"], f"{where}: image_index")
    if image_index.media_type != OCI_INDEX:
        raise FormatError(
            "`image_index` does not name an image index",
            where=where,
            observed=image_index.media_type[:100],
            expected=OCI_INDEX,
        )
    return issued_at, image_index


def _certificate(text: str, where: str, *, compat: bool) -> x509.Certificate:
    if compat and text.startswith(_PEM_BEGIN) and text.isascii():
        return parse_pem_certificate(text.encode(), where)
    try:
        der = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        der = b""
    if not der or base64.b64encode(der).decode() != text:
        raise FormatError(
            "not base64 of a DER certificate",
            where=where,
            hint="images of early builders have PEM here; read them with the compatibility option"
            if text.startswith(_PEM_BEGIN)
            else "",
        )
    return parse_certificate(der, where)
