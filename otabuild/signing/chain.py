"""The certificates for x5c, and every rule that they must follow (sections 8 and 12).

The rules are checked one by one, so that each mistake has a message that names file, fact and
remedy. `otabuild.signing.trust` checks whether the chain ends at a trusted root.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby, pairwise, product
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from otabuild.errors import Finding, InputError, LimitError, OtabuildError, TrustError
from otabuild.findings import errors_of, rule
from otabuild.format import limits
from otabuild.format.times import utc
from otabuild.signing.certificates import Certificate, read_certificates

ExtensionType = TypeVar("ExtensionType", bound=x509.ExtensionType)

VERIFICATION = "the time of verification"
_UNDERSTOOD = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.NAME_CONSTRAINTS,
    }
)


@dataclass(frozen=True, slots=True)
class ChainSubject:
    """A chain, the signing certificate first; arguments as for `chain_problems`."""

    chain: tuple[Certificate, ...]
    moments: Mapping[str, int]
    strict_eku: bool


def load_chain(certificate: str, intermediates: Sequence[str] = ()) -> tuple[Certificate, ...]:
    """Read a signature's chain: the signing certificate, then every intermediate, no root.

    Args:
        certificate: path of a PEM file that starts with the signing certificate; the rest of it is
            part of the chain.
        intermediates: paths of PEM files with the rest, in order.

    Raises:
        InputError: a file has no PEM certificate.
        StorageError: a file cannot be read.
    """
    return tuple(
        found for path in (certificate, *intermediates) for found in read_certificates(path)
    )


def in_order(chain: Sequence[Certificate]) -> tuple[Certificate, ...]:
    """Return a chain from the signing certificate, its first, upwards; strangers come last."""
    ordered, rest = [*chain[:1]], [*chain[1:]]
    while parent := next((other for other in rest if ordered[-1].is_issued_by(other)), None):
        ordered.append(parent)
        rest.remove(parent)
    return (*ordered, *rest)


def paths_up(chain: Sequence[Certificate]) -> Iterator[tuple[Certificate, ...]]:
    """Yield the paths from the signing certificate upwards; there are several if more than one CA
    certified a CA.

    Such certificates have one name and one key, and stand side by side in the chain. A path has one
    of them.
    """
    yield from product(chain[:1], *_authorities(chain))


def _authorities(chain: Sequence[Certificate]) -> list[list[Certificate]]:
    """Return the certificates of each CA above the signing certificate."""

    def name_and_key(certificate: Certificate) -> tuple[x509.Name, object]:
        return certificate.x509.subject, certificate.p256_key or certificate.fingerprint

    return [list(certificates) for _, certificates in groupby(chain[1:], name_and_key)]


def chain_problems(
    chain: Sequence[Certificate], moments: Mapping[str, int], *, strict_eku: bool = False
) -> Iterator[OtabuildError]:
    """Yield everything that is wrong with a chain by itself, root causes first.

    Args:
        chain: the signing certificate first.
        moments: the times at which every certificate must be valid: a name for the message, and
            Unix seconds.
        strict_eku: require the extended key usage codeSigning; by default it may be absent.
    """
    if not chain:
        yield InputError("the chain has no certificate")
    else:
        yield from errors_of(ChainSubject(tuple(chain), moments, strict_eku))


def authority_problems(certificate: Certificate, below: int) -> Iterator[TrustError]:
    """Yield why a certificate may not issue others; `below` counts the CA certificates under it."""
    return (found.error(TrustError) for found in _authority(certificate, below))


def _authority(certificate: Certificate, below: int) -> Iterator[Finding]:
    basic = _extension(certificate, x509.BasicConstraints)
    usage = _extension(certificate, x509.KeyUsage)
    hint = (
        "have the CA certificate reissued with `basicConstraints=critical,CA:TRUE` and "
        "`keyUsage=critical,keyCertSign,cRLSign`"
    )
    if basic is None or not basic.value.ca:
        yield _found(
            certificate, "not a CA certificate (no CA:TRUE), but it is in the place of one", hint
        )
    elif not basic.critical:
        yield _found(
            certificate, "its basicConstraints are not critical, which clients refuse", hint
        )
    elif basic.value.path_length is not None and basic.value.path_length < below:
        yield _found(
            certificate,
            f"its path length of {basic.value.path_length} does not allow "
            f"{below} CA certificates below it",
            "use an intermediate that is closer to the root, or have this one issued "
            "with a larger pathlen",
        )
    if usage is not None and not usage.value.key_cert_sign:
        yield _found(
            certificate, "its key usage does not allow signing certificates (keyCertSign)", hint
        )


def usage_problem(authority: Certificate) -> TrustError | None:
    """Return why a CA certificate is not meant to issue signing certificates, or None.

    Its extended key usage limits what the certificates below it are good for. Clients do not look
    at that of a CA.
    """
    extended = _extension(authority, x509.ExtendedKeyUsage)
    allowed = (ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)
    if extended is None or any(usage in extended.value for usage in allowed):
        return None
    return _found(
        authority,
        "a CA whose extended key usage excludes code signing",
        "have the CA certificate issued without extendedKeyUsage, or with codeSigning among it",
    ).error(TrustError)


def validity_problems(certificate: Certificate, moments: Mapping[str, int]) -> Iterator[TrustError]:
    """Yield the named moments (Unix seconds) at which a certificate is not valid."""
    return (found.error(TrustError) for found in _validity(certificate, moments))


def _validity(certificate: Certificate, moments: Mapping[str, int]) -> Iterator[Finding]:
    for name, moment in moments.items():
        if moment < certificate.not_before:
            yield _found(
                certificate,
                f"not yet valid at {name} ({utc(moment)})",
                "check the clock and the timestamp, or use a certificate that is valid then",
            )
        elif moment > certificate.not_after:
            yield _found(
                certificate,
                f"expired at {name} ({utc(moment)})",
                "sign the image again with `otabuild sign`, or judge an archived "
                "image with --at TIME"
                if name == VERIFICATION
                else "have it renewed: `openssl x509 -in FILE -noout -dates` shows its dates",
            )


_chain_rule = partial(rule, area="chain", error=TrustError)


@rule("chain.length", ChainSubject, area="chain", error=LimitError)
def check_length(subject: ChainSubject) -> Iterator[Finding]:
    """A chain has at most 6 certificates."""
    if len(subject.chain) > limits.CERTIFICATES:
        yield Finding(
            subject.chain[-1].where,
            "the chain has too many certificates",
            len(subject.chain),
            f"at most {limits.CERTIFICATES}",
            hint="leave out the root, and every certificate that is not part of the chain",
        )


@_chain_rule("chain.members", ChainSubject)
def check_members(subject: ChainSubject) -> Iterator[Finding]:
    """No certificate is self-signed, and none occurs twice."""
    for position, certificate in enumerate(subject.chain):
        if certificate.x509.subject == certificate.x509.issuer:  # clients compare the names
            remedy = (
                "sign with a certificate that a CA issued; `otabuild pki demo DIR` makes "
                "a set for tests"
                if position == 0
                else "leave the root out of the chain: devices have it in their trust store"
            )
            yield _found(certificate, "self-signed, which clients refuse in a chain", remedy)
        for other in subject.chain[:position]:
            if certificate.x509 == other.x509:
                remedy = f"name each certificate once; it is {other.where}, too"
                yield _found(certificate, "the chain contains this certificate twice", remedy)
                break


@_chain_rule("chain.form", ChainSubject)
def check_form(subject: ChainSubject) -> Iterator[Finding]:
    """A certificate is version 3, with a key on P-256, signed with SHA-2, and without unknown
    critical extensions.
    """
    for certificate in subject.chain:
        yield from _form(certificate)


def _form(certificate: Certificate) -> Iterator[Finding]:
    if certificate.x509.version is not x509.Version.v3:
        yield _found(
            certificate,
            "not an X.509 version 3 certificate",
            "have it issued as version 3, with extensions",
        )
    if certificate.p256_key is None:
        yield _found(
            certificate,
            "its key is not on the curve P-256",
            "make the key with `openssl ecparam -name prime256v1 -genkey -noout` "
            "and have it certified",
        )
    if not isinstance(
        _signature_hash(certificate.x509), hashes.SHA256 | hashes.SHA384 | hashes.SHA512
    ):
        yield _found(
            certificate,
            "signed by its issuer with a weak or unknown hash",
            "have it issued with SHA-256",
        )
    try:
        unknown = [
            e.oid.dotted_string
            for e in certificate.x509.extensions
            if e.critical and e.oid not in _UNDERSTOOD
        ]
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        yield _found(certificate, f"its extensions cannot be read: {error}", "have it reissued")
    else:
        if unknown:
            yield _found(
                certificate, f"unknown critical extension {unknown[0]}", "have it issued without"
            )


@_chain_rule("chain.signer", ChainSubject)
def check_signing_certificate(subject: ChainSubject) -> Iterator[Finding]:
    """The first certificate is no CA and may sign code."""
    certificate = subject.chain[0]
    basic = _extension(certificate, x509.BasicConstraints)
    usage = _extension(certificate, x509.KeyUsage)
    extended = _extension(certificate, x509.ExtendedKeyUsage)
    if basic is not None and basic.value.ca:
        yield _found(
            certificate,
            "a CA certificate cannot sign images",
            "put the signing certificate first, and the CA certificates after it",
        )
    if usage is not None and not usage.value.digital_signature:
        yield _found(
            certificate,
            "its key usage does not allow signatures (digitalSignature)",
            "have it issued with `keyUsage=critical,digitalSignature`",
        )
    if (extended is None and subject.strict_eku) or (
        extended is not None and ExtendedKeyUsageOID.CODE_SIGNING not in extended.value
    ):
        yield _found(
            certificate,
            "its extended key usage does not allow code signing",
            "have it issued with `extendedKeyUsage=codeSigning`",
        )


@_chain_rule("chain.authorities", ChainSubject)
def check_authorities(subject: ChainSubject) -> Iterator[Finding]:
    """Every other certificate is of a CA that may issue the one below it."""
    for below, certificates in enumerate(_authorities(subject.chain)):
        for certificate in certificates:
            yield from _authority(certificate, below)


@_chain_rule("chain.order", ChainSubject)
def check_order(subject: ChainSubject) -> Iterator[Finding]:
    """Every certificate is followed by that of its issuer, whose key signed it; an issuer may have
    several.
    """
    # Clients build paths: one that holds is enough.
    if any(
        all(child.is_issued_by(parent) for child, parent in pairwise(path))
        for path in paths_up(subject.chain)
    ):
        return
    for child, parent in pairwise(subject.chain):
        yield from _link(child, parent, subject.chain)


@_chain_rule("chain.dates", ChainSubject)
def check_dates(subject: ChainSubject) -> Iterator[Finding]:
    """Every certificate is valid now, and at the time of the build."""
    for certificate in subject.chain:
        yield from _validity(certificate, subject.moments)


def _link(
    child: Certificate, parent: Certificate, chain: Sequence[Certificate]
) -> Iterator[Finding]:
    if child.is_issued_by(parent):
        return
    if child.x509.issuer == parent.x509.subject and child.is_signed_with_key_of(parent):
        yield _found(
            child,
            f"it writes its issuer's name with another string type than {parent.where} does, which "
            "clients refuse",
            "clients compare names byte by byte, although OpenSSL does not: have it issued again "
            "with the string types of "
            "the issuer's certificate (UTF8String beside PrintableString is the usual case)",
        )
        return
    if child.x509.issuer == parent.x509.subject:
        yield _found(
            child,
            f"not signed with the key of its issuer's certificate {parent.where}",
            "use the issuer certificate that belongs to it: `openssl verify -partial_chain "
            "-trusted ISSUER.pem CERTIFICATE.pem` shows whether it does",
        )
        return
    elsewhere = next((other for other in chain if child.is_issued_by(other)), None)
    yield _found(
        child,
        f"the next certificate, {parent.where} with subject {parent.subject}, is not its issuer",
        f"order the chain from the signing certificate upwards: {elsewhere.where} comes next"
        if elsewhere
        else f"add the certificate with subject {child.issuer} after it",
    )


def _found(certificate: Certificate, what: str, hint: str) -> Finding:
    return Finding(certificate.where, what, certificate.facts, hint=hint)


def _extension(
    certificate: Certificate, kind: type[ExtensionType]
) -> x509.Extension[ExtensionType] | None:
    """Return an extension; None if it or all are unreadable, which `chain.form` reports."""
    try:
        return certificate.x509.extensions.get_extension_for_class(kind)
    except (
        x509.ExtensionNotFound,
        ValueError,
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
    ):
        return None


def _signature_hash(certificate: x509.Certificate) -> hashes.HashAlgorithm | None:
    try:
        return certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return None
