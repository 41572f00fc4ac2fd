"""verify-sign: checks that a trusted signer signed index.json."""

from __future__ import annotations

from otabuild.errors import TrustError
from otabuild.image.image import Image
from otabuild.signing.authenticity import SignatureReport, verify_index_jwt
from otabuild.signing.trust import TrustPolicy


def verify_sign(image: Image, policy: TrustPolicy | None, now: int) -> SignatureReport:
    """Verify the signature at a time (Unix seconds), and that it covers this index.json.

    Without a policy, everything except the trust anchor is checked, and the report says so.

    Raises:
        TrustError: the image is not signed, or the chain or signature is invalid.
        FormatError, LimitError: index.jwt does not follow the format.
        IntegrityError: it covers a different index.json.
    """
    if image.token_raw is None:
        raise TrustError("the image is not signed", where=image.path)
    return verify_index_jwt(
        image.token_raw, image.index_raw, policy, now, compat=image.compat.is_on
    )
