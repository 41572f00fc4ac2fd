"""Checks everything about a signature that can be checked before any work is done."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric import ec

from otabuild.errors import TrustError
from otabuild.format.times import utc
from otabuild.signing.certificates import Certificate
from otabuild.signing.chain import chain_problems
from otabuild.signing.trust import TrustPolicy, check_signer, path_problem


def preflight(
    chain: Sequence[Certificate],
    public_key: ec.EllipticCurvePublicKey | None,
    timestamp: int,
    now: int,
    *,
    policy: TrustPolicy | None = None,
) -> list[str]:
    """Check chain, key and timestamp of a build against every rule of clients.

    Args:
        chain: the signing certificate first; see `otabuild.signing.chain.load_chain`.
        public_key: the public key of the signer, if known in advance.
        timestamp: the time of the build in Unix seconds; it becomes `iat`.
        now: Unix seconds.
        policy: if given, the chain must also end at one of its anchors, and the signer must be
            allowed.

    Returns:
        Warnings for certificates that expire within 30 days, and for a chain that may lack an
        intermediate one.

    Raises:
        TrustError: clients or the policy would refuse the image.
        LimitError: the chain has too many certificates.
    """
    if timestamp > now:
        raise TrustError(
            "the timestamp is in the future: clients would refuse the signature",
            where="timestamp",
            observed=utc(timestamp),
            expected=f"not after {utc(now)}",
            hint=(
                "set `timestamp` or SOURCE_DATE_EPOCH to a time that has passed, or correct this "
                "machine's clock"
            ),
        )
    for problem in chain_problems(
        chain, {"the timestamp of the build": timestamp, "today's date": now}
    ):
        raise problem
    _check_key(chain[0], public_key)
    unrooted = path_problem(chain, policy, now)
    if policy is not None:
        if unrooted is not None:
            raise unrooted
        check_signer(chain[0], policy)
    warnings = [] if unrooted is None else [str(unrooted)]
    return warnings + [
        f"{certificate.where}: expires soon, at {utc(certificate.not_after)} "
        f"({certificate.subject}); clients will refuse the image from then on"
        for certificate in chain
        if certificate.expires_soon(now)
    ]


def _check_key(certificate: Certificate, public_key: ec.EllipticCurvePublicKey | None) -> None:
    if public_key is not None and public_key != certificate.p256_key:
        raise TrustError(
            "the private key does not belong to this certificate",
            where=certificate.where,
            observed=certificate.facts,
            hint="these two must print the same: `openssl x509 -in CERTIFICATE -noout -pubkey` and "
            "`openssl pkey -in KEY -pubout`",
        )
