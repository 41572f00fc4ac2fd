"""index.jwt: what is read, what is refused, and the exact bytes that are written (threats S10, S11, S13, S14, S15)."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from otabuild.errors import FormatError, LimitError, OtabuildError, TrustError
from otabuild.format.certificate import parse_certificate
from otabuild.format.index_jwt import assemble, parse_index_jwt, parse_signing_input, signing_input
from tests import pki
from tests.format.generate_index_jwt import GOLDEN, made

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
HEADER, CLAIMS = pki.header(), pki.claims()
GOOD = pki.token(HEADER, CLAIMS)


def refused(token: bytes, error: type[OtabuildError], text: str, *, compat: bool = False) -> None:
    """Check that the token is refused, by parsing or by its signature, for the given reason."""
    with pytest.raises(error, match=text):
        parse_index_jwt(token, compat=compat).verify_signature()


def descriptor(**changes: object) -> dict[str, object]:
    image_index = CLAIMS["image_index"]
    assert isinstance(image_index, dict)
    merged = image_index | changes
    return {field: value for field, value in merged.items() if value is not None}


def test_same_input_same_token() -> None:
    assert made() == GOLDEN.read_bytes(), "regenerate with: python -m tests.format.generate_index_jwt"


def test_reads_what_it_writes() -> None:
    token = parse_index_jwt(made())
    token.verify_signature()
    assert (token.issued_at, token.chain) == (pki.NOW, (pki.signer().certificate, pki.intermediate().certificate))
    token.image_index.verify(pki.INDEX, "index.json")
    assert b".".join((token.signing_input, pki.base64url(token.signature))) == token.raw


def test_writes_exactly_what_the_format_names() -> None:
    header, claims, _ = (base64.urlsafe_b64decode(part + b"==") for part in made().split(b"."))
    assert json.loads(header) == HEADER
    assert list(json.loads(header)) == ["alg", "typ", "x5c"]
    assert json.loads(claims) == CLAIMS


def test_a_token_by_hand_is_read() -> None:
    parse_index_jwt(GOOD).verify_signature()


def test_a_missing_time_is_read() -> None:
    assert parse_index_jwt(pki.token(HEADER, pki.claims(iat=None))).issued_at is None


def test_assemble_refuses_another_keys_signature() -> None:
    signed = signing_input(pki.INDEX, pki.NOW, [pki.signer().certificate])
    with pytest.raises(TrustError, match="does not verify"):
        assemble(signed, pki.raw_signature(pki.key("another"), signed))


def test_only_p256_signs() -> None:
    with pytest.raises(TrustError, match="not P-256"):
        signing_input(pki.INDEX, pki.NOW, [pki.issue("p384", own_key=pki.key("p384", ec.SECP384R1)).certificate])


@pytest.mark.parametrize(
    "changes",
    [
        {"alg": "none"},
        {"alg": "HS256"},
        {"alg": "ES384"},
        {"alg": "ES256K"},
        {"alg": "RS256"},
        {"alg": ["ES256"]},
        {"alg": "es256"},
        {"alg": None},
        {"typ": "jwt"},
        {"typ": "JOSE"},
        {"typ": None},
        {"crit": ["exp"]},
        {"b64": False},
        {"jwk": {"kty": "EC"}},
        {"jku": "https://example.org"},
        {"x5u": "https://example.org"},
        {"kid": "../../key"},
        {"x5t": "abc"},
        {"cty": "JWT"},
    ],
    ids=str,
)
def test_header_tricks_are_refused(changes: dict[str, object]) -> None:
    """S11."""
    refused(pki.token(pki.header(**changes), CLAIMS), TrustError, "header")


@pytest.mark.parametrize(
    ("x5c", "error", "text"),
    [
        ([], FormatError, "at least one"),
        (None, FormatError, "at least one"),
        ("text", FormatError, "at least one"),
        ([5], FormatError, "at least one"),
        ([base64.b64encode(pki.signer().der).decode()] * 7, LimitError, "too many"),
        ([base64.b64encode(pki.signer().der).decode()] * 1000, LimitError, "too"),
        (["AAAA"], FormatError, "not a certificate"),
        ([base64.b64encode(pki.signer().der + b"x").decode()], FormatError, "not a certificate"),
        ([""], FormatError, "not base64"),
        ([base64.b64encode(pki.signer().der).decode() + "\n"], FormatError, "not base64"),
        ([base64.urlsafe_b64encode(b"\xff" * 30).decode()], FormatError, "not base64"),
        ([base64.b64encode(bytes(17 * 1024)).decode()], LimitError, "certificate too large"),
        ([pki.signer().pem.decode()], FormatError, "compatibility"),
        ([pki.signer().der.decode("latin-1")], FormatError, "not base64"),
    ],
)
def test_x5c_of_another_shape_is_refused(x5c: object, error: type[OtabuildError], text: str) -> None:
    """S10."""
    refused(pki.token(pki.header(x5c=x5c), CLAIMS), error, text)


def test_pem_is_read_on_request() -> None:
    token = pki.token(pki.header(x5c=[pki.signer().pem.decode(), pki.header()["x5c"][1]]), CLAIMS)  # type: ignore[index]  # a list
    parse_index_jwt(token, compat=True).verify_signature()
    refused(token, FormatError, "compatibility")


def test_two_certificates_in_one_pem_are_refused() -> None:
    token = pki.token(pki.header(x5c=[(pki.signer().pem + pki.root().pem).decode()]), CLAIMS)
    refused(token, FormatError, "exactly one", compat=True)


def test_x5c_is_canonical_base64() -> None:
    """S14: unused bits after the last byte are zero."""
    texts = (base64.b64encode(party.der).decode() for party in map(pki.issue, ("a", "bb", "ccc")))
    text = next(text for text in texts if text.endswith("="))
    stem = text.rstrip("=")
    other = stem[:-1] + chr(ord(stem[-1]) + 1) + text[len(stem) :]
    assert base64.b64decode(other) == base64.b64decode(text)
    refused(pki.token(pki.header(x5c=[other]), CLAIMS), FormatError, "not base64")


def test_x5c_must_start_with_the_signing_certificate() -> None:
    refused(pki.token(pki.header(pki.intermediate(), pki.signer()), CLAIMS), TrustError, "does not verify")


@pytest.mark.parametrize(
    "own",
    [
        pki.key("p384", ec.SECP384R1),
        pki.key("p521", ec.SECP521R1),
        pki.key("k1", ec.SECP256K1),
        ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["P-384", "P-521", "secp256k1", "Ed25519", "RSA"],
)
def test_other_keys_are_refused(own: pki.Key) -> None:
    """S13."""
    party = pki.issue("other", pki.intermediate(), own_key=own)
    refused(pki.token(pki.header(party, pki.intermediate()), CLAIMS), TrustError, "not P-256")


def with_signature(signature: bytes) -> bytes:
    return GOOD.rpartition(b".")[0] + b"." + pki.base64url(signature)


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_damaged_certificates_are_refused_or_readable() -> None:
    der = pki.signer().der
    for position in range(len(der)):
        changed = bytearray(der)
        changed[position] ^= 1 << position % 8
        try:
            certificate = parse_certificate(bytes(changed), "x5c[0]")
        except FormatError:
            continue
        assert certificate.subject.rfc4514_string()
        assert certificate.issuer.rfc4514_string()


def test_a_serial_number_is_positive() -> None:
    serial = pki.signer().certificate.serial_number.to_bytes(8, "big")
    negative = pki.signer().der.replace(serial, bytes([serial[0] | 0x80]) + serial[1:])
    with pytest.raises(FormatError, match="not positive"):
        parse_certificate(negative, "x5c[0]")


@pytest.mark.parametrize(
    ("signature", "text"),
    [
        (b"", "not a raw ES256"),
        (bytes(63), "not a raw ES256"),
        (bytes(65), "not a raw ES256"),
        (pki.signer().ec_key.sign(b"", ec.ECDSA(hashes.SHA256(), deterministic_signing=True)), "not a raw ES256"),
        (bytes(64), "does not verify"),
        (b"\xff" * 64, "does not verify"),
        (ORDER.to_bytes(32, "big") * 2, "does not verify"),
        (bytes(31) + b"\x01" + bytes(32), "does not verify"),
    ],
    ids=["empty", "63 bytes", "65 bytes", "DER", "zeros", "ones", "order", "s is 0"],
)
def test_signatures_of_another_shape_are_refused(signature: bytes, text: str) -> None:
    """S13."""
    refused(with_signature(signature), TrustError, text)


def test_s_may_be_low_or_high() -> None:
    """S13: a deliberate choice, both are read."""
    signature = parse_index_jwt(GOOD).signature
    other = ORDER - int.from_bytes(signature[32:], "big")
    parse_index_jwt(with_signature(signature[:32] + other.to_bytes(32, "big"))).verify_signature()


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_no_bit_of_the_token_may_change() -> None:
    for position in range(0, len(GOOD), 3):
        changed = bytearray(GOOD)
        changed[position] ^= 1 << position % 8
        with pytest.raises(OtabuildError):
            parse_index_jwt(bytes(changed)).verify_signature()


@pytest.mark.parametrize(
    ("token", "error", "text"),
    [
        (b"", FormatError, "1 parts"),
        (b".", FormatError, "2 parts"),
        (b"..", FormatError, "not strict JSON"),
        (b"A.A.A", FormatError, "base64url"),
        (GOOD + b".", FormatError, "4 parts"),
        (GOOD.replace(b".", b"", 1), FormatError, "2 parts"),
        (GOOD + b"\n", FormatError, "after the token"),
        (b" " + GOOD, FormatError, "base64url"),
        (GOOD.replace(b".", b"=.", 1), FormatError, "base64url"),
        (GOOD + b"==", FormatError, "base64url"),
        (GOOD[:50] + b"\n" + GOOD[50:], FormatError, "base64url"),
        (GOOD[:50] + b"+" + GOOD[51:], FormatError, "base64url"),
        (GOOD[:50] + b"/" + GOOD[51:], FormatError, "base64url"),
        (with_signature(bytes(64))[:-1] + b"B", FormatError, "base64url"),
        (b"A" * 10_000_000, LimitError, "too large"),
        (pki.token(b"\xef\xbb\xbf{}", CLAIMS), FormatError, "not strict JSON"),
        (pki.token(b"[]", CLAIMS), FormatError, "not a JSON object"),
        (pki.token(HEADER, b"[]"), FormatError, "not a JSON object"),
        (pki.token(HEADER, b"{"), FormatError, "not strict JSON"),
        (pki.token(HEADER, b"[" * 10_000), LimitError, "deep"),
    ],
)
def test_other_encodings_are_refused(token: bytes, error: type[OtabuildError], text: str) -> None:
    """S14."""
    refused(token, error, text)


@pytest.mark.parametrize(
    ("claims", "text"),
    [
        (json.dumps(CLAIMS)[:-1].encode() + b',"iat":1}', "duplicate"),
        (json.dumps(CLAIMS)[:-1].encode() + b',"IAT":1}', "duplicate"),
        (pki.claims(image_index=None), "image_index"),
        (pki.claims(image_index=[]), "image_index"),
        (pki.claims(image_index=descriptor(size=-1)), "size"),
        (pki.claims(image_index=descriptor(size=19.0)), "size"),
        (pki.claims(image_index=descriptor(size="19")), "size"),
        (pki.claims(image_index=descriptor(size=True)), "size"),
        (pki.claims(image_index=descriptor(size=None)), "size"),
        (pki.claims(image_index=descriptor(digest="sha256:00")), "digest"),
        (pki.claims(image_index=descriptor(digest=str(descriptor()["digest"]).upper())), "digest"),
        (pki.claims(image_index=descriptor(digest=f"{descriptor()['digest']} ")), "digest"),
        (pki.claims(image_index=descriptor(digest="sha512:" + "0" * 128)), "digest"),
        (pki.claims(image_index=descriptor(digest=None)), "digest"),
        (pki.claims(image_index=descriptor(mediaType="application/json")), "not name an image index"),
        (pki.claims(exp=pki.NOW + 1), "exp"),
        (pki.claims(nbf=0), "nbf"),
        (pki.claims(aud="us"), "aud"),
        (pki.claims(iss="us"), "iss"),
        (pki.claims(iat=-1), "iat"),
        (pki.claims(iat=1.5), "iat"),
        (pki.claims(iat=True), "iat"),
        (pki.claims(iat="1"), "iat"),
        (pki.claims(iat=10**12), "iat"),
        (json.dumps(CLAIMS).replace(str(pki.NOW), "null").encode(), "null"),
    ],
)
def test_other_claims_are_refused(claims: object, text: str) -> None:
    """S15."""
    refused(pki.token(HEADER, claims), FormatError, text)


@given(st.binary(max_size=400))
def test_any_bytes_give_a_token_or_our_error(raw: bytes) -> None:
    with pytest.raises(OtabuildError):
        parse_index_jwt(raw).verify_signature()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@given(JSON, JSON)
def test_any_json_gives_our_error(header: object, claims: object) -> None:
    with pytest.raises(OtabuildError):
        parse_index_jwt(pki.token(header, claims)).verify_signature()


@given(st.sampled_from(["alg", "typ", "x5c", "iat", "image_index"]), JSON)
def test_any_value_of_a_field_gives_a_token_or_our_error(field: str, value: object) -> None:
    header = HEADER | {field: value} if field in HEADER else HEADER
    claims = CLAIMS | {field: value} if field in CLAIMS else CLAIMS
    try:
        parse_index_jwt(pki.token(header, claims)).verify_signature()
    except OtabuildError:
        return
    assert isinstance(value, int)
    assert field == "iat"


def test_what_is_to_be_signed_reads_as_the_token_that_it_becomes() -> None:
    signed = signing_input(pki.INDEX, pki.NOW, [certificate.x509 for certificate in pki.chain()])
    unsigned, token = parse_signing_input(signed), parse_index_jwt(made())
    assert (unsigned.issued_at, unsigned.chain, unsigned.signing_input) == (token.issued_at, token.chain, signed)
    with pytest.raises(TrustError):
        unsigned.verify_signature()
