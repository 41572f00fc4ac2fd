"""Signs statements about an image, and verifies them with the policy for images."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from otabuild.errors import FormatError
from otabuild.format.dsse import LIMIT, Envelope, pre_authentication
from otabuild.format.statement import Statement
from otabuild.signing.authenticity import SignatureReport
from otabuild.signing.certificates import Certificate
from otabuild.signing.chain import usage_problem
from otabuild.signing.signer import Signer, its_own_key
from otabuild.signing.trust import TrustPolicy, check_signer, verify_chain


@dataclass(frozen=True, slots=True)
class Attested:
    """A statement that a trusted signer made."""

    statement: Statement
    signature: SignatureReport


def sign_statement(statement: Statement, chain: Sequence[Certificate], signer: Signer) -> bytes:
    """Sign a statement.

    Args:
        statement: what to sign.
        chain: the signing certificate first.
        signer: has the key of the signing certificate.

    Returns:
        The envelope, verified.

    Raises:
        TrustError: the signature does not verify with the signing certificate.
        OtabuildError: the signer failed.
    """
    payload = statement.to_json()
    signature = signer.sign(hashlib.sha256(pre_authentication(payload)).digest())
    envelope = Envelope(payload, tuple(certificate.x509 for certificate in chain), signature)
    with its_own_key(chain[0]):
        envelope.verify_signature(chain[0].where)
    return envelope.to_json()


def verify_attestation(
    raw: bytes, where: str, predicate_type: str, policy: TrustPolicy, now: int
) -> Attested:
    """Verify an envelope: its form, its signature, and that the policy trusts its signer.

    Whether it is about a certain image is not checked; see `otabuild.verification.attested`.

    Args:
        raw: the bytes of the envelope.
        where: its file, for messages.
        predicate_type: what the statement must say.
        policy: whom to trust. It has no time of signing, so the policy's limits for that do not
            apply.
        now: the time to check validity at, Unix seconds.

    Raises:
        FormatError, LimitError: not an envelope with such a statement.
        TrustError: the chain or the signature is invalid, or the policy refuses it.
    """
    envelope = Envelope.from_json(raw, where)
    chain = tuple(
        Certificate(found, f"{where}: x5c[{number}]") for number, found in enumerate(envelope.chain)
    )
    anchor = verify_chain(chain, policy, now)
    envelope.verify_signature(where)
    check_signer(chain[0], policy)
    statement = Statement.from_json(envelope.payload, where, LIMIT)
    if statement.predicate_type != predicate_type:
        raise FormatError(
            "the attestation says something else",
            where=where,
            observed=statement.predicate_type,
            expected=predicate_type,
        )
    notes = [note for authority in (*chain[1:], anchor) if (note := usage_problem(authority))]
    return Attested(statement, SignatureReport(chain, anchor, None, tuple(notes)))
