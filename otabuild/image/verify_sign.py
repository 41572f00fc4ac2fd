"""verify-sign: whether index.json is what a trusted signer signed."""

from __future__ import annotations

from otabuild.errors import TrustError
from otabuild.image.image import Image
from otabuild.signing.trust import TrustPolicy
from otabuild.signing.verify import SignatureReport, verify_index_jwt


def verify_sign(image: Image, policy: TrustPolicy | None, now: int, *, compat: bool = False) -> SignatureReport:
    """Verify the signature, and that it is over this index.json.

    Args:
        image: an open image.
        policy: whom to trust; None checks everything but the trust anchor, which the report then says.
        now: Unix seconds.
        compat: also read tokens of early builders, with PEM certificates.

    Raises:
        TrustError: the image is not signed, or the chain or signature does not hold.
        FormatError, LimitError: index.jwt does not follow the format.
        IntegrityError: it is about another index.json.
    """
    if image.token_raw is None:
        raise TrustError("the image is not signed", where=image.path)
    return verify_index_jwt(image.token_raw, image.index_raw, policy, now, compat=compat)
