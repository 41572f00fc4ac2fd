"""The certificates for x5c, and every rule that they must follow (sections 8 and 12).

The rules are checked one by one, so that each mistake has a message that names file, fact and remedy.
`otabuild.signing.trust` checks whether the chain ends at a trusted root.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from otabuild.errors import InputError, LimitError, OtabuildError, TrustError
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


def load_chain(certificate: str, intermediates: Sequence[str] = ()) -> tuple[Certificate, ...]:
    """Read the chain of a signature: the signing certificate first, then every intermediate, without the root.

    Args:
        certificate: path of a PEM file that starts with the signing certificate; the rest of it is part of the chain.
        intermediates: paths of PEM files with the rest, in order.

    Raises:
        InputError: a file has no PEM certificate.
        StorageError: a file cannot be read.
    """
    return tuple(found for path in (certificate, *intermediates) for found in read_certificates(path))


def in_order(chain: Sequence[Certificate]) -> tuple[Certificate, ...]:
    """Return a chain from the signing certificate, its first one, upwards; what does not belong to it comes last."""
    ordered, rest = [*chain[:1]], [*chain[1:]]
    while parent := next((other for other in rest if ordered[-1].is_issued_by(other)), None):
        ordered.append(parent)
        rest.remove(parent)
    return (*ordered, *rest)


def chain_problems(
    chain: Sequence[Certificate], moments: Mapping[str, int], *, strict_eku: bool = False
) -> Iterator[OtabuildError]:
    """Yield everything that is wrong with a chain by itself, root causes first.

    Args:
        chain: the signing certificate first.
        moments: the times at which every certificate must be valid: a name for the message, and Unix seconds.
        strict_eku: require the extended key usage codeSigning; by default it may be absent.
    """
    if not chain:
        yield InputError("the chain has no certificate")
        return
    yield from _membership_problems(chain)
    for certificate in chain:
        yield from _form_problems(certificate)
    yield from _signing_certificate_problems(chain[0], strict_eku=strict_eku)
    for below, certificate in enumerate(chain[1:]):
        yield from authority_problems(certificate, below)
    for child, parent in pairwise(chain):
        yield from _link_problems(child, parent, chain)
    for certificate in chain:
        yield from validity_problems(certificate, moments)


def authority_problems(certificate: Certificate, below: int) -> Iterator[TrustError]:
    """Yield why a certificate may not issue others; `below` is the number of CA certificates under it."""
    basic = _extension(certificate, x509.BasicConstraints)
    usage = _extension(certificate, x509.KeyUsage)
    hint = "have the CA certificate reissued with `basicConstraints=critical,CA:TRUE` and `keyUsage=critical,keyCertSign,cRLSign`"
    if basic is None or not basic.value.ca:
        yield _problem(certificate, "not a CA certificate (no CA:TRUE), but it is in the place of one", hint)
    elif not basic.critical:
        yield _problem(certificate, "its basicConstraints are not critical, which clients refuse", hint)
    elif basic.value.path_length is not None and basic.value.path_length < below:
        yield _problem(
            certificate,
            f"its path length of {basic.value.path_length} does not allow {below} CA certificates below it",
            "use an intermediate that is closer to the root, or have this one issued with a larger pathlen",
        )
    if usage is not None and not usage.value.key_cert_sign:
        yield _problem(certificate, "its key usage does not allow signing certificates (keyCertSign)", hint)


def usage_problem(authority: Certificate) -> TrustError | None:
    """Return why a CA certificate is not meant to issue signing certificates, or None.

    Its extended key usage limits what the certificates below it are good for. Clients do not look at that of a CA.
    """
    extended = _extension(authority, x509.ExtendedKeyUsage)
    allowed = (ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)
    if extended is None or any(usage in extended.value for usage in allowed):
        return None
    return _problem(
        authority,
        "a CA whose extended key usage excludes code signing",
        "have the CA certificate issued without extendedKeyUsage, or with codeSigning among it",
    )


def validity_problems(certificate: Certificate, moments: Mapping[str, int]) -> Iterator[TrustError]:
    """Yield the named moments (Unix seconds) at which a certificate is not valid."""
    for name, moment in moments.items():
        if moment < certificate.not_before:
            yield _problem(
                certificate,
                f"not yet valid at {name} ({utc(moment)})",
                "check the clock and the timestamp, or use a certificate that is valid then",
            )
        elif moment > certificate.not_after:
            yield _problem(
                certificate,
                f"expired at {name} ({utc(moment)})",
                "sign the image again with `otabuild sign`, or judge an archived image with --at TIME"
                if name == VERIFICATION
                else "have it renewed: `openssl x509 -in FILE -noout -dates` shows its dates",
            )


def _membership_problems(chain: Sequence[Certificate]) -> Iterator[OtabuildError]:
    if len(chain) > limits.CERTIFICATES:
        yield LimitError(
            "the chain has too many certificates",
            where=chain[-1].where,
            observed=len(chain),
            expected=f"at most {limits.CERTIFICATES}",
            hint="leave out the root, and every certificate that is not part of the chain",
        )
    for position, certificate in enumerate(chain):
        if certificate.x509.subject == certificate.x509.issuer:  # clients compare the names
            remedy = (
                "sign with a certificate that a CA issued; `otabuild pki demo DIR` makes a set for tests"
                if position == 0
                else "leave the root out of the chain: devices have it in their trust store"
            )
            yield _problem(certificate, "self-signed, which clients refuse in a chain", remedy)
        if certificate.x509 in [other.x509 for other in chain[:position]]:
            yield _problem(certificate, "the chain contains this certificate twice", "name each certificate once")


def _form_problems(certificate: Certificate) -> Iterator[TrustError]:
    if certificate.x509.version is not x509.Version.v3:
        yield _problem(
            certificate, "not an X.509 version 3 certificate", "have it issued as version 3, with extensions"
        )
    if certificate.p256_key is None:
        yield _problem(
            certificate,
            "its key is not on the curve P-256",
            "make the key with `openssl ecparam -name prime256v1 -genkey -noout` and have it certified",
        )
    if not isinstance(_signature_hash(certificate.x509), hashes.SHA256 | hashes.SHA384 | hashes.SHA512):
        yield _problem(certificate, "signed by its issuer with a weak or unknown hash", "have it issued with SHA-256")
    try:
        unknown = [e.oid.dotted_string for e in certificate.x509.extensions if e.critical and e.oid not in _UNDERSTOOD]
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        yield _problem(certificate, f"its extensions cannot be read: {error}", "have it reissued")
    else:
        if unknown:
            yield _problem(certificate, f"unknown critical extension {unknown[0]}", "have it issued without")


def _signing_certificate_problems(certificate: Certificate, *, strict_eku: bool) -> Iterator[TrustError]:
    basic = _extension(certificate, x509.BasicConstraints)
    usage = _extension(certificate, x509.KeyUsage)
    extended = _extension(certificate, x509.ExtendedKeyUsage)
    if basic is not None and basic.value.ca:
        yield _problem(
            certificate,
            "a CA certificate cannot sign images",
            "put the signing certificate first, and the CA certificates after it",
        )
    if usage is not None and not usage.value.digital_signature:
        yield _problem(
            certificate,
            "its key usage does not allow signatures (digitalSignature)",
            "have it issued with `keyUsage=critical,digitalSignature`",
        )
    if (extended is None and strict_eku) or (
        extended is not None and ExtendedKeyUsageOID.CODE_SIGNING not in extended.value
    ):
        yield _problem(
            certificate,
            "its extended key usage does not allow code signing",
            "have it issued with `extendedKeyUsage=codeSigning`",
        )


def _link_problems(child: Certificate, parent: Certificate, chain: Sequence[Certificate]) -> Iterator[TrustError]:
    if child.is_issued_by(parent):
        return
    if child.x509.issuer == parent.x509.subject and child.is_signed_with_key_of(parent):
        yield _problem(
            child,
            f"it writes its issuer's name with another string type than {parent.where} does, which clients refuse",
            "clients compare names byte by byte, although OpenSSL does not: have it issued again with the string types of "
            "the issuer's certificate (UTF8String beside PrintableString is the usual case)",
        )
        return
    if child.x509.issuer == parent.x509.subject:
        yield _problem(
            child,
            f"not signed with the key of its issuer's certificate {parent.where}",
            "use the issuer certificate that belongs to it: "
            "`openssl verify -partial_chain -trusted ISSUER.pem CERTIFICATE.pem` shows whether it does",
        )
        return
    elsewhere = next((other for other in chain if child.is_issued_by(other)), None)
    yield _problem(
        child,
        f"the next certificate, {parent.where} with subject {parent.subject}, is not its issuer",
        f"order the chain from the signing certificate upwards: {elsewhere.where} comes next"
        if elsewhere
        else f"add the certificate with subject {child.issuer} after it",
    )


def _problem(certificate: Certificate, what: str, hint: str) -> TrustError:
    return TrustError(what, where=certificate.where, observed=certificate.facts, hint=hint)


def _extension(certificate: Certificate, kind: type[ExtensionType]) -> x509.Extension[ExtensionType] | None:
    """Return an extension, or None; also None if extensions cannot be read, which `_form_problems` reports."""
    try:
        return certificate.x509.extensions.get_extension_for_class(kind)
    except (x509.ExtensionNotFound, ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return None


def _signature_hash(certificate: x509.Certificate) -> hashes.HashAlgorithm | None:
    try:
        return certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return None
