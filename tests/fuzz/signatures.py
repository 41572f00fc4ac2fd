"""Targets: tokens, certificates, revocation lists and keys."""

from __future__ import annotations

import base64
import tempfile
from functools import cache
from pathlib import Path
from random import Random

from cryptography.hazmat.primitives.serialization import Encoding

from otabuild.errors import OtabuildError
from otabuild.format.certificate import parse_certificate
from otabuild.format.dsse import Envelope, pre_authentication
from otabuild.format.index_jwt import parse_index_jwt, parse_signing_input
from otabuild.format.legacy_jwt import assemble_legacy, legacy_certificate, legacy_signing_input, verify_legacy_jwt
from otabuild.signing.certificates import Certificate, read_certificates, token_certificates
from otabuild.signing.chain import chain_problems, in_order
from otabuild.signing.keys import load_key
from otabuild.signing.pem import unfolded
from otabuild.signing.revocation import check_revocation, load_crls
from otabuild.signing.trust import TrustPolicy, path_problem
from tests import pki
from tests.fuzz import mutations
from tests.fuzz.target import Target

CERTIFICATE = legacy_certificate(pki.signer().certificate)


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="otabuild-fuzz-")


def _file(raw: bytes) -> str:
    path = Path(_folder().name) / "input"
    path.write_bytes(raw)
    return str(path)


def _judge(chain: tuple[Certificate, ...]) -> None:
    """Ask everything that is asked about a chain, and every text that messages show."""
    for certificate in chain:
        _ = certificate.facts, certificate.common_name, certificate.is_self_signed, certificate.p256_key
    problems: list[OtabuildError | None] = list(chain_problems(in_order(chain), {"now": pki.NOW}))
    problems.append(path_problem(chain, TrustPolicy(anchors=pki.anchors()), pki.NOW))
    problems.append(path_problem(chain, TrustPolicy(anchors=chain[-1:], strict_eku=True), pki.NOW))
    "".join(map(str, problems)).encode()


def _token(raw: bytes) -> None:
    token = parse_index_jwt(raw, compat=True)
    _judge(token_certificates(token))
    token.verify_signature()


def _legacy(raw: bytes) -> None:
    token, _, certificate = raw.partition(b"\n")
    verify_legacy_jwt(token, certificate or CERTIFICATE)


def _legacy_seed() -> dict[str, bytes]:
    signed = legacy_signing_input(CERTIFICATE)
    token = assemble_legacy(signed, pki.raw_signature(pki.signer().ec_key, signed), CERTIFICATE)
    return {"token": token, "pair": token + b"\n" + CERTIFICATE}


def _of_legacy(data: bytes, random: Random) -> bytes:
    token, line, certificate = data.partition(b"\n")
    if line and random.random() < 0.7:
        return token + line + mutations.of_pem(certificate, random)
    return mutations.of_token(token, random) + line + certificate


def _crls(raw: bytes) -> None:
    lists = load_crls([_file(raw)])
    _ = [found.dates for found in lists]
    check_revocation([*pki.chain(), *pki.anchors()], lists, pki.NOW)


def _crl_seeds() -> dict[str, bytes]:
    good = pki.crl(pki.intermediate(), [pki.signer()])
    return {"der": good.public_bytes(Encoding.DER), "pem": good.public_bytes(Encoding.PEM)}


def _of_der_or_pem(data: bytes, random: Random) -> bytes:
    return mutations.of_pem(data, random) if b"-----" in data else mutations.of_der(data, random)


def _certificate_seeds() -> dict[str, bytes]:
    parties = {"root": pki.root(), "intermediate": pki.intermediate(), "signer": pki.signer()}
    return {name: party.der for name, party in parties.items()}


def _pem_seeds() -> dict[str, bytes]:
    return {"chain": pki.signer().pem + pki.intermediate().pem}


def _key_seeds() -> dict[str, bytes]:
    plain = pki.signer().key_pem()
    return {"plain": plain, "base64": base64.b64encode(plain), "joined": plain.replace(b"\n", b"\\n")}


def _signing_input_seeds() -> dict[str, bytes]:
    return {"good": pki.token(pki.header(), pki.claims()).rpartition(b".")[0]}


def _envelope(raw: bytes) -> None:
    envelope = Envelope.from_json(raw, "the envelope")
    assert envelope.to_json() == raw
    envelope.verify_signature("the envelope")


def _envelope_seeds() -> dict[str, bytes]:
    signature = pki.raw_signature(pki.signer().ec_key, pre_authentication(b"{}"))
    return {"good": Envelope(b"{}", (pki.signer().certificate,), signature).to_json()}


TARGETS = {
    "envelope": Target(_envelope, _envelope_seeds, mutations.of_json),
    "index-jwt": Target(_token, lambda: {"good": pki.token(pki.header(), pki.claims())}, mutations.of_token),
    "signing-input": Target(parse_signing_input, _signing_input_seeds, mutations.of_token),
    "legacy-jwt": Target(_legacy, _legacy_seed, _of_legacy),
    "certificate": Target(
        lambda raw: _judge((Certificate(parse_certificate(raw, "c"), "c"),)), _certificate_seeds, mutations.of_der
    ),
    "pem": Target(lambda raw: _judge(read_certificates(_file(raw))), _pem_seeds, mutations.of_pem),
    "crl": Target(_crls, _crl_seeds, _of_der_or_pem),
    "key": Target(lambda raw: load_key(unfolded(raw), "k"), _key_seeds, mutations.of_pem),
}
