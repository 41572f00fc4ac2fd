"""Certificates at the border of the library: whatever it thinks of them, we say one word or take them as clients do."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otabuild.errors import FormatError, InputError, TrustError
from otabuild.format.certificate import parse_certificate
from otabuild.format.index_jwt import parse_index_jwt
from otabuild.format.legacy_jwt import legacy_signing_input, verify_legacy_jwt
from otabuild.signing.certificates import Certificate, read_certificates
from otabuild.signing.chain import chain_problems, in_order
from otabuild.signing.revocation import load_crls
from otabuild.signing.signing_request import SigningRequest
from otabuild.signing.trust import TrustPolicy, load_anchors, verify_chain
from tests import pki
from tests.signing import der

ROOT, INTERMEDIATE, SIGNER = pki.key("r"), pki.key("i"), pki.key("s")
MOMENTS = {"now": pki.NOW}


def parsed(raw: bytes, where: str = "a.pem") -> Certificate:
    return Certificate(parse_certificate(raw, where), where)


def chain(**of_signer: object) -> tuple[Certificate, Certificate, Certificate]:
    """Return signer, intermediate and root; the options change the signer's certificate."""
    options: dict[str, object] = {"issuer": der.name(b"Int"), **of_signer}
    return (
        parsed(der.certificate(der.name(b"Sign"), own=SIGNER, signer=INTERMEDIATE, **options), "sign.pem"),  # type: ignore[arg-type]
        parsed(der.certificate(der.name(b"Int"), der.name(b"Root"), INTERMEDIATE, ROOT, ca=True), "int.pem"),
        parsed(der.certificate(der.name(b"Root"), der.name(b"Root"), ROOT, ROOT, ca=True), "root.pem"),
    )


def test_the_fingerprint_is_the_digest_of_the_whole_certificate() -> None:
    raw = der.certificate(der.name(b"A"), der.name(b"B"), SIGNER, INTERMEDIATE)
    assert parsed(raw).fingerprint == hashlib.sha256(raw).hexdigest()


@pytest.mark.parametrize("kind", [der.COMMON_NAME, der.COUNTRY, der.UNIQUE_ID])
def test_names_of_any_type_are_read_or_refused_with_one_word(kind: str) -> None:
    """The library raises TypeError for a BIT STRING, KeyError for unknown types, and warns about lengths."""
    tags = [*range(1, 31), 0x80, 0xA0, 0x30]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for tag, text in itertools.product(tags, (b"AB", b"\0AB", b"\xff\xfe\xfd", b"", b"a" * 300)):
            raw = der.certificate(der.name(text, tag, kind), der.name(b"Int"), SIGNER, INTERMEDIATE)
            try:
                found = parsed(raw)
            except FormatError as error:
                assert error.what == "not a certificate that can be read"  # noqa: PT017  # others pass
                continue
            assert found.subject.isprintable()
            assert found.facts
            assert found.common_name is None or isinstance(found.common_name, str)
            list(chain_problems((found, *chain()[1:2]), MOMENTS))


@pytest.mark.parametrize("serial", [0, -1, -(1 << 70)])
def test_a_serial_number_that_is_not_positive(serial: int, tmp_path: Path) -> None:
    raw = der.certificate(der.name(b"Root"), der.name(b"Root"), ROOT, ROOT, ca=True, serial=serial)
    (tmp_path / "root.pem").write_bytes(der.pem("CERTIFICATE", raw))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError, match=f"serial number {serial}"):
            read_certificates(str(tmp_path / "root.pem"))


def test_null_parameters_are_called_by_their_name(tmp_path: Path) -> None:
    raw = der.certificate(der.name(b"A"), der.name(b"Int"), SIGNER, INTERMEDIATE, parameters=der.tlv(5))
    (tmp_path / "null.pem").write_bytes(der.pem("CERTIFICATE", raw))
    with pytest.raises(InputError, match="parameters") as caught:
        read_certificates(str(tmp_path / "null.pem"))
    assert "keytool" in caught.value.hint
    assert "PEM" not in caught.value.what


@pytest.mark.parametrize("label", ["CERTIFICATE", "X509 CERTIFICATE"])
def test_a_root_whose_own_signature_is_weak_is_an_anchor(label: str, tmp_path: Path) -> None:
    """Clients do not check what a root says about itself."""
    weak = der.certificate(der.name(b"Root"), der.name(b"Root"), ROOT, ROOT, ca=True, sha1=True)
    (tmp_path / "root.pem").write_bytes(der.pem(label, weak))
    (anchor,) = load_anchors([str(tmp_path / "root.pem")])
    assert verify_chain(chain()[:2], TrustPolicy(anchors=(anchor,)), pki.NOW) == anchor


def test_a_weak_signature_below_the_root_is_refused() -> None:
    signer, intermediate, root = chain(sha1=True)
    with pytest.raises(TrustError, match="weak"):
        verify_chain((signer, intermediate), TrustPolicy(anchors=(root,)), pki.NOW)


def test_a_weak_root_of_another_key_is_no_anchor(tmp_path: Path) -> None:
    forged = der.certificate(der.name(b"Root"), der.name(b"Root"), ROOT, SIGNER, ca=True, sha1=True)
    (tmp_path / "root.pem").write_bytes(der.pem("CERTIFICATE", forged))
    with pytest.raises(TrustError, match="no trust anchor"):
        load_anchors([str(tmp_path / "root.pem")])


@pytest.mark.parametrize("tag", [der.PRINTABLE, 22, 20])
def test_an_issuer_in_another_string_type_is_not_blamed_on_the_key(tag: int) -> None:
    problems = [problem.what for problem in chain_problems(chain(issuer=der.name(b"Int", tag))[:2], MOMENTS)]
    assert len(problems) == 1
    assert "string type" in problems[0]


def test_a_root_that_an_older_one_signed_too_is_found() -> None:
    """Vehicles hold the new root, the chain goes on to the old one; clients stop at the first root they trust."""
    old, new = pki.issue("old root"), pki.issue("new root")
    crossed = pki.issue("new root", old, ca=True)
    intermediate = pki.issue("below new", new, ca=True, path_length=0)
    signer = pki.issue("signs", intermediate, eku=[pki.CODE_SIGNING])
    whole = pki.chain(signer, intermediate, crossed)
    for trusted in ((new,), (old,), (old, new)):
        assert verify_chain(whole, TrustPolicy(anchors=pki.anchors(*trusted)), pki.NOW)
    with pytest.raises(TrustError):
        verify_chain(whole, TrustPolicy(anchors=pki.anchors(pki.root())), pki.NOW)


def test_a_certificate_behind_the_root_must_be_of_its_key() -> None:
    new, other = pki.issue("new root"), pki.issue("other root")
    intermediate = pki.issue("below new", new, ca=True, path_length=0)
    stranger = pki.issue("new root", other, ca=True, own_key=pki.key("stranger"))
    chain_of_two = pki.chain(pki.issue("signs", intermediate), intermediate, stranger)
    with pytest.raises(TrustError):
        verify_chain(chain_of_two, TrustPolicy(anchors=pki.anchors(new)), pki.NOW)


@pytest.mark.parametrize("swapped", [False, True])
def test_an_intermediate_that_two_roots_signed_leads_to_both(*, swapped: bool) -> None:
    """Clients find a path from either of its certificates; a path length counts CAs, not their certificates."""
    roots = [pki.issue(f"side root {number}", path_length=2) for number in range(2)]
    uppers = [pki.issue("upper", root, ca=True, path_length=1) for root in roots]
    lower = pki.issue("lower", uppers[0], ca=True, path_length=0)
    signer = pki.issue("signs", lower)
    whole = pki.chain(signer, lower, *(reversed(uppers) if swapped else uppers))
    assert not list(chain_problems(whole, MOMENTS))
    for root in roots:
        assert verify_chain(whole, TrustPolicy(anchors=pki.anchors(root)), pki.NOW).x509 == root.certificate
    with pytest.raises(TrustError, match="does not end at a trusted root"):
        verify_chain(whole, TrustPolicy(anchors=pki.anchors(pki.root())), pki.NOW)


def test_of_two_certificates_of_a_ca_the_one_that_the_policy_allows_is_taken() -> None:
    roots = [pki.issue(f"side root {number}") for number in range(2)]
    narrow = pki.issue("side", roots[0], ca=True, eku=[pki.SERVER_AUTH])
    wide = pki.issue("side", roots[1], ca=True)
    whole = pki.chain(pki.issue("signs", wide, eku=[pki.CODE_SIGNING]), narrow, wide)
    strict = TrustPolicy(anchors=pki.anchors(*roots), strict_eku=True)
    assert verify_chain(whole, strict, pki.NOW).x509 == roots[1].certificate
    with pytest.raises(TrustError, match="excludes code signing"):
        verify_chain(whole, TrustPolicy(anchors=pki.anchors(roots[0]), strict_eku=True), pki.NOW)


@pytest.mark.parametrize("stranger", ["key", "name", "signer", "expired", "apart"])
def test_what_stands_beside_a_ca_must_be_of_it(stranger: str) -> None:
    root, other = pki.issue("side root 0"), pki.issue("side root 1")
    ca = pki.issue("side", root, ca=True)
    leaf = pki.issue("signs", ca)
    beside = {
        "key": [leaf, ca, pki.issue("side", other, ca=True, own_key=pki.key("stranger"))],
        "name": [leaf, ca, pki.issue("beside", other, ca=True, own_key=pki.key("side"))],
        "signer": [leaf, pki.issue("signs", other), ca],
        "expired": [leaf, ca, pki.issue("side", other, ca=True, not_after=pki.NOW - 1)],
        "apart": [leaf, ca, pki.issue("extra", root, ca=True), pki.issue("side", other, ca=True)],
    }[stranger]
    with pytest.raises(TrustError):
        verify_chain(pki.chain(*beside), TrustPolicy(anchors=pki.anchors(root, other)), pki.NOW)


@pytest.mark.parametrize("of_root", [False, True])
def test_a_ca_that_is_not_for_code_signing(*, of_root: bool) -> None:
    """Refused by a strict policy, a note otherwise; any extended key usage, or code signing among it, is fine."""
    root = pki.issue("eku root", eku=[pki.SERVER_AUTH] if of_root else [])
    narrow = pki.issue("eku int", root, ca=True, path_length=0, eku=[] if of_root else [pki.SERVER_AUTH])
    wide = pki.issue("wide", root, ca=True, path_length=0, eku=[pki.SERVER_AUTH, pki.CODE_SIGNING])
    policy = TrustPolicy(anchors=pki.anchors(root))
    strict = TrustPolicy(anchors=pki.anchors(root), strict_eku=True)
    for intermediate, refused in ((narrow, True), (wide, of_root)):
        signed = pki.chain(pki.issue("eku signer", intermediate, eku=[pki.CODE_SIGNING]), intermediate)
        verify_chain(signed, policy, pki.NOW)
        if refused:
            with pytest.raises(TrustError, match="excludes code signing"):
                verify_chain(signed, strict, pki.NOW)
        else:
            verify_chain(signed, strict, pki.NOW)


def test_certificates_are_put_in_order() -> None:
    first = pki.issue("one", pki.root(), ca=True)
    second = pki.issue("two", first, ca=True)
    third = pki.issue("three", second)
    right = pki.chain(third, second, first)
    for mixed in itertools.permutations(right[1:]):
        assert in_order((right[0], *mixed)) == right
    assert in_order(()) == ()


def as_legacy_certificate(pem: bytes) -> object:
    token = legacy_signing_input(pem) + b"." + base64.urlsafe_b64encode(b"no signature")
    return verify_legacy_jwt(token, pem)


def as_early_token(pem: bytes) -> object:
    return parse_index_jwt(pki.token(pki.header(x5c=[pem.decode()]), pki.claims()), compat=True)


def as_signing_request(pem: bytes) -> object:
    request = {"name": "index.jwt", "signing-input": "YQ==", "chain": [pem.decode()]}
    return SigningRequest.from_json(json.dumps(request).encode(), "request.json")


@pytest.mark.parametrize("read", [as_legacy_certificate, as_early_token, as_signing_request])
@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"serial": 0}, "serial number 0"),
        ({"serial": -5}, "serial number -5"),
        ({"parameters": der.tlv(5)}, "parameters"),
        ({"issuer": der.name(b"AB", der.BIT_STRING)}, "BitString"),
    ],
)
def test_pem_certificates_come_through_the_same_border(
    read: Callable[[bytes], object], options: dict[str, Any], cause: str
) -> None:
    """Each place that takes one says the true cause, also where warnings are errors."""
    raw = der.certificate(der.name(b"A"), own=SIGNER, signer=INTERMEDIATE, **{"issuer": der.name(b"Int"), **options})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(FormatError, match="not a certificate that can be read") as caught:
            read(der.pem("CERTIFICATE", raw))
    assert cause in str(caught.value)


@pytest.mark.parametrize("name", [der.name(b"AB", der.BIT_STRING), der.name(b"\xff\xfe"), der.name(b"AB", 9)])
def test_a_revocation_list_of_an_odd_name_is_refused(name: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.crl").write_bytes(der.revocation_list(name, ROOT))
    with pytest.raises(InputError, match="not a revocation list"):
        load_crls([str(tmp_path / "a.crl")])


@pytest.mark.parametrize("text", [b"A", b"ABC", b"A" * 300])
def test_a_revocation_list_whose_name_the_library_warns_about(text: bytes, tmp_path: Path) -> None:
    """It is read without a word, and does not count as a list of the issuer."""
    (tmp_path / "a.crl").write_bytes(der.revocation_list(der.name(text, kind=der.COUNTRY), ROOT))
    signer, intermediate, root = chain()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        crls = load_crls([str(tmp_path / "a.crl")])
        with pytest.raises(TrustError, match="no current revocation list"):
            verify_chain((signer, intermediate), TrustPolicy(anchors=(root,), crls=crls), pki.NOW)


@pytest.mark.parametrize("curve", ["1.2.840.10045.3.1.99", "1.2.840.10045.3.9.7", "1.2.840.10045.9.1.7"])
def test_keys_that_the_library_does_not_know_are_never_the_same(curve: str) -> None:
    def of_unknown_key(issuer: bytes) -> Certificate:
        known = der.certificate(der.name(b"Root"), issuer, ROOT, ROOT, ca=True)
        return parsed(known.replace(der.oid("1.2.840.10045.3.1.7"), der.oid(curve)))

    root, crossed = of_unknown_key(der.name(b"Root")), of_unknown_key(der.name(b"Older"))
    assert root.p256_key is None
    assert not root.is_vouched_for_by(crossed)
    assert not crossed.is_vouched_for_by(root)
