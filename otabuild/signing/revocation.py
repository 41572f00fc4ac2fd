"""Certificate revocation lists (optional)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from otabuild.errors import InputError, TrustError
from otabuild.format.certificate import border
from otabuild.format.times import utc
from otabuild.signing.certificates import FILE_LIMIT, Certificate
from otabuild.signing.pem import revocation_lists_in
from otabuild.storage.files import read_file

_PARTIAL = (x509.DeltaCRLIndicator, x509.IssuingDistributionPoint)


class RevocationList(NamedTuple):
    """A revocation list and the file it came from."""

    x509: x509.CertificateRevocationList
    where: str

    @property
    def dates(self) -> tuple[int, ...]:
        """Return from when it is current, and from when it no longer is, in Unix seconds."""
        until = self.x509.next_update_utc
        return int(self.x509.last_update_utc.timestamp()), *(
            [int(until.timestamp()) + 1] if until else []
        )


def load_crls(paths: Iterable[str]) -> tuple[RevocationList, ...]:
    """Read revocation lists: one as DER, or any number as PEM, with or without other text.

    Raises:
        InputError: a file is not a revocation list, or of an unsupported kind (delta, indirect,
            partial).
        StorageError: a file cannot be read.
    """
    return tuple(crl for path in paths for crl in _load(path))


def check_revocation(
    path: Sequence[Certificate], crls: Sequence[RevocationList], moment: int
) -> None:
    """Look up every certificate of a path in the revocation lists.

    Without any list, nothing is checked. With lists, every issuer of the path must have a list that
    it signed and that is current at `moment` (Unix seconds). A revoked certificate is refused
    regardless of its revocation date.

    Args:
        path: from the signing certificate to the root, already validated; the root itself is not
            looked up.
        crls: the revocation lists.
        moment: Unix seconds.

    Raises:
        TrustError: a certificate is revoked, or a current list is missing.
    """
    if not crls:
        return
    for certificate, issuer in pairwise(path):
        own = [crl for crl in crls if _is_signed_by(crl, issuer.x509)]
        for crl in own:
            revoked = crl.x509.get_revoked_certificate_by_serial_number(
                certificate.x509.serial_number
            )
            if revoked is not None:
                raise TrustError(
                    f"revoked at {utc(int(revoked.revocation_date_utc.timestamp()))} by "
                    f"{crl.where}",
                    where=certificate.where,
                    observed=certificate.facts,
                    hint="do not trust what it signed; sign again with a different certificate",
                )
        if not any(_is_current(crl.x509, moment) for crl in own):
            raise TrustError(
                "no current revocation list of its issuer",
                where=certificate.where,
                observed="; ".join(f"{crl.where}: {_span(crl.x509)}" for crl in own)
                or "none by this issuer",
                expected=f"a list by {issuer.subject} that is current at {utc(moment)}",
                hint="fetch the issuer's newest revocation list",
            )


def _load(path: str) -> list[RevocationList]:
    lists = revocation_lists_in(read_file(path, FILE_LIMIT), path)
    with border(lambda error: InputError("not a revocation list", where=path, observed=error)):
        found = [x509.load_der_x509_crl(der) for der in lists]
        for crl in found:
            _read_whole(crl)
    for crl in found:
        for extension in crl.extensions:
            # Taken for a whole list, a part would pass what the rest of it revokes.
            if extension.critical or isinstance(extension.value, _PARTIAL):
                raise InputError(
                    "a delta, indirect or partial revocation list",
                    where=path,
                    observed=extension.oid.dotted_string,
                    expected="a full list",
                )
    return [RevocationList(crl, path) for crl in found]


def _read_whole(crl: x509.CertificateRevocationList) -> None:
    """Read everything that is used later, because malformed parts show only when read."""
    _span(crl)
    _ = crl.issuer, crl.extensions
    for revoked in crl:
        _ = revoked.serial_number, revoked.revocation_date_utc, revoked.extensions


def _is_signed_by(crl: RevocationList, issuer: x509.Certificate) -> bool:
    # The library reads the issuer's name anew each time, and warns each time.
    with border(lambda error: InputError("cannot be checked", where=crl.where, observed=error)):
        key = issuer.public_key()
        usages = [
            found.value for found in issuer.extensions if isinstance(found.value, x509.KeyUsage)
        ]
        return (
            crl.x509.issuer == issuer.subject
            and all(usage.crl_sign for usage in usages)
            and isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey)
            and crl.x509.is_signature_valid(key)
        )


def _is_current(crl: x509.CertificateRevocationList, moment: int) -> bool:
    until = crl.next_update_utc
    return until is not None and crl.last_update_utc.timestamp() <= moment <= until.timestamp()


def _span(crl: x509.CertificateRevocationList) -> str:
    until = crl.next_update_utc
    return (
        f"{utc(int(crl.last_update_utc.timestamp()))} to "
        f"{utc(int(until.timestamp())) if until else 'no end'}"
    )
