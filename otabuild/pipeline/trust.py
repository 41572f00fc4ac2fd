"""From the `verify` section of a recipe to a trust policy."""

from __future__ import annotations

from otabuild.recipe.signing import VerifyRecipe
from otabuild.signing.revocation import load_crls
from otabuild.signing.trust import TrustPolicy, load_anchors


def trust_policy(verify: VerifyRecipe) -> TrustPolicy:
    """Whom a recipe trusts.

    Raises:
        TrustError, InputError: an anchor or revocation list that cannot be used.
    """
    return TrustPolicy(
        anchors=load_anchors(verify.trust),
        allowed_signers=frozenset(verify.allowed_signers),
        crls=load_crls(verify.crl),
        strict_eku=verify.eku == "strict",
    )
