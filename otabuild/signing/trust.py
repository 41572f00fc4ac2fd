"""Decides whom to trust, and whether a chain ends there.

Every chain is checked twice: by otabuild's own rules (`otabuild.signing.chain`), which have better
messages, and by the path validation of the cryptography package. Both must accept it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from otabuild.errors import OtabuildError, TrustError
from otabuild.signing.certificates import Certificate, read_certificates
from otabuild.signing.chain import (
    VERIFICATION,
    authority_problems,
    chain_problems,
    paths_up,
    usage_problem,
    validity_problems,
)
from otabuild.signing.revocation import RevocationList, check_revocation
from otabuild.storage.fs import storage_error

_ANCHOR_SUFFIXES = (".pem", ".crt")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustPolicy:
    """The conditions under which the caller trusts an image. Times are Unix seconds.

    Attributes:
        anchors: the trusted roots; see `load_anchors`.
        not_before: refuse images signed before this time.
        max_age: refuse images signed more than this many seconds ago.
        allowed_signers: common names, or whole subjects in RFC 4514 form (with a `=`), one of which
            must have signed; empty for any.
        crls: revocation lists; if there are any, every issuer of the chain needs a current one.
        strict_eku: require codeSigning of the signing certificate, and of every CA that has an
            extended key usage; by default the signing certificate may have none, and that of a CA
            is only noted.
    """

    anchors: tuple[Certificate, ...]
    not_before: int | None = None
    max_age: int | None = None
    allowed_signers: frozenset[str] = frozenset()
    crls: tuple[RevocationList, ...] = ()
    strict_eku: bool = False


def load_anchors(paths: Iterable[str]) -> tuple[Certificate, ...]:
    """Read the trust anchors: self-signed certificates of PEM files, or folders' *.pem, *.crt.

    Raises:
        InputError: a file, or a *.pem or *.crt file of a folder, has no PEM certificate.
        StorageError: one of them cannot be read.
        TrustError: no anchor was found.
    """
    paths = tuple(paths)
    files = [file for path in paths for file in _files(path)]
    anchors = tuple(c for file in files for c in read_certificates(file) if c.is_self_signed)
    if not anchors:
        raise TrustError(
            "no trust anchor: without one, nothing can be verified",
            where=", ".join(files or paths),
            hint="name the file of a self-signed root certificate, or a folder with such *.pem or "
            "*.crt files; an intermediate certificate is not an anchor",
        )
    return anchors


def verify_chain(chain: Sequence[Certificate], policy: TrustPolicy, now: int) -> Certificate:
    """Find the anchor at which a chain ends.

    Args:
        chain: the signing certificate first.
        policy: whom to trust.
        now: the time to check validity at, Unix seconds.

    Returns:
        The trusted root.

    Raises:
        TrustError: the chain breaks a rule, is not valid at that time, is revoked, or does not end
            at an anchor.
    """
    for problem in chain_problems(chain, {VERIFICATION: now}, strict_eku=policy.strict_eku):
        raise problem
    # Clients build paths: a root that an older one signed as well may stand in the chain, and be an
    # anchor itself.
    candidates = [
        (path[: length + 1], anchor)
        for path in paths_up(chain)
        for length, last in reversed([*enumerate(path)])
        for anchor in policy.anchors
        if anchor.is_self_signed and last.is_issued_by(anchor)
        if all(anchor.is_vouched_for_by(other) for other in path[length + 1 : length + 2])
    ]
    refusals: list[OtabuildError] = []
    for path, anchor in candidates:
        try:
            _verify_path(path, anchor, policy, now)
        except OtabuildError as error:
            refusals.append(error)
        else:
            return anchor
    if refusals:
        raise refusals[0]
    for anchor in policy.anchors:
        if anchor.is_self_signed and anchor.x509.subject == chain[-1].x509.issuer:
            raise TrustError(
                "not signed by the trusted root of that name, which has a different key",
                where=chain[-1].where,
                observed=chain[-1].facts,
                expected=f"a signature with the key of {anchor.where}",
                hint="you may have two CAs of that name; compare their fingerprints: "
                "`openssl x509 -in FILE -noout -fingerprint -sha256`",
            )
    raise TrustError(
        "the chain does not end at a trusted root",
        where=chain[-1].where,
        observed=chain[-1].facts,
        expected="; ".join(sorted({anchor.subject for anchor in policy.anchors}))
        or "at least one trust anchor",
        hint="add the root certificate of that issuer to the trust store if you trust it, or the "
        "missing intermediate to the chain when signing",
    )


def path_problem(
    chain: Sequence[Certificate], policy: TrustPolicy | None, now: int
) -> OtabuildError | None:
    """Return why nothing shows that clients will find a path from a signer to a root, or None.

    Args:
        chain: the signing certificate first.
        policy: whom clients trust, if known; without it, only a chain that has an issuer is
            believed to be complete.
        now: the time to check validity at, Unix seconds.
    """
    if policy is None:
        if len(chain) > 1:
            return None
        return TrustError(
            "whether a root issued the signing certificate cannot be told: clients refuse it if an "
            "intermediate did",
            where=chain[0].where,
            observed=chain[0].facts,
            hint=(
                "add the intermediate certificates (`chain`, --chain), and name the root (`verify: "
                "{trust: …}`, --ca)"
            ),
        )
    try:
        verify_chain(chain, policy, now)
    except OtabuildError as error:
        return error
    return None


def check_signer(certificate: Certificate, policy: TrustPolicy) -> None:
    """Check that a signing certificate is among the allowed signers.

    Raises:
        TrustError: allowed signers are set, and it is not one of them.
    """
    # A common name may look like a whole subject; only names that do not are compared with it.
    subjects = {text for text in policy.allowed_signers if "=" in text}
    common_names = policy.allowed_signers - subjects
    is_allowed = certificate.subject in subjects or certificate.common_name in common_names
    if policy.allowed_signers and not is_allowed:
        raise TrustError(
            "not signed by an allowed signer",
            where=certificate.where,
            observed=certificate.facts,
            expected=" or ".join(sorted(policy.allowed_signers)),
            hint="sign with the certificate of an allowed signer, or add this one to those allowed",
        )


def _verify_path(
    chain: Sequence[Certificate], anchor: Certificate, policy: TrustPolicy, now: int
) -> None:
    for problem in authority_problems(anchor, len(chain) - 1):
        raise problem
    for problem in validity_problems(anchor, {VERIFICATION: now}):
        raise problem
    for authority in (*chain[1:], anchor):
        if policy.strict_eku and (refusal := usage_problem(authority)):
            raise refusal
    # The default policies of the library are made for servers of the web: they demand names and key
    # usages that signing certificates of vehicles do not have (decision 0011).
    ca_policy = (
        ExtensionPolicy.permit_all()
        .require_present(x509.BasicConstraints, Criticality.CRITICAL, None)
        .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _signs_certificates)
    )
    signer_policy = (
        ExtensionPolicy.permit_all()
        .may_be_present(x509.BasicConstraints, Criticality.AGNOSTIC, _is_no_authority)
        .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _signs_data)
        .may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _signs_code)
    )
    verifier = (
        PolicyBuilder()
        .store(Store([anchor.x509]))
        .time(datetime.fromtimestamp(now, UTC))
        .max_chain_depth(len(chain) - 1)
        .extension_policies(ca_policy=ca_policy, ee_policy=signer_policy)
        .build_client_verifier()
    )
    certificates = [certificate.x509 for certificate in chain]
    try:
        verified = verifier.verify(certificates[0], certificates[1:])
    except VerificationError as error:
        raise TrustError(
            "path validation refuses the chain",
            where=chain[0].where,
            observed=error,
            expected=f"a path to {anchor.subject}",
        ) from None
    if verified.chain != [*certificates, anchor.x509]:
        raise TrustError(
            "a certificate of the chain is not part of the path to the root", where=chain[0].where
        )
    check_revocation([*chain, anchor], policy.crls, now)


def _signs_certificates(
    _policy: Policy, _certificate: x509.Certificate, usage: x509.KeyUsage | None
) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("a CA certificate without keyCertSign")


def _is_no_authority(
    _policy: Policy, _certificate: x509.Certificate, basic: x509.BasicConstraints | None
) -> None:
    if basic is not None and basic.ca:
        raise ValueError("a CA certificate as the signing certificate")


def _signs_data(
    _policy: Policy, _certificate: x509.Certificate, usage: x509.KeyUsage | None
) -> None:
    if usage is not None and not usage.digital_signature:
        raise ValueError("a signing certificate without digitalSignature")


def _signs_code(
    _policy: Policy, _certificate: x509.Certificate, usage: x509.ExtendedKeyUsage | None
) -> None:
    if usage is not None and ExtendedKeyUsageOID.CODE_SIGNING not in usage:
        raise ValueError("a signing certificate whose extended key usage lacks codeSigning")


def _files(path: str) -> list[str]:
    try:
        if not os.path.isdir(path):
            return [path]
        return [
            os.path.join(path, name)
            for name in sorted(os.listdir(path))
            if name.endswith(_ANCHOR_SUFFIXES)
        ]
    except OSError as error:
        raise storage_error(error, "read", path) from None
