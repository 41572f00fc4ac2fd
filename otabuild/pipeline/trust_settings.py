"""Makes a trust policy from the `verify` section of a recipe."""

from __future__ import annotations

import os

from otabuild.pipeline.settings import input_hashes
from otabuild.recipe.sign import Sign, VerifyRecipe
from otabuild.signing.chain import load_chain
from otabuild.signing.revocation import load_crls
from otabuild.signing.trust import TrustPolicy, load_anchors
from otabuild.storage.fs import storage_error


def trust_policy(verify: VerifyRecipe) -> TrustPolicy:
    """Return the trust policy of a recipe.

    Raises:
        InputError: a file is not a PEM certificate or not a revocation list.
        StorageError: a file cannot be read.
        TrustError: no file has a trust anchor.
    """
    return TrustPolicy(
        anchors=load_anchors(verify.trust),
        allowed_signers=frozenset(verify.allowed_signers),
        crls=load_crls(verify.crl),
        strict_eku=verify.eku == "strict",
    )


def next_date(sign: Sign | None, verify: VerifyRecipe | None, now: int) -> int | None:
    """Return when a certificate or revocation list next expires or becomes valid, or None.

    Raises:
        OtabuildError: one of them cannot be read.
    """
    chain = load_chain(sign.certificate, sign.chain) if sign else ()
    policy = trust_policy(verify) if verify and verify.trust else TrustPolicy(anchors=())
    # A certificate is still valid in the second of its end.
    dates = [
        date for one in (*chain, *policy.anchors) for date in (one.not_before, one.not_after + 1)
    ]
    dates += [date for one in policy.crls for date in one.dates]
    return min((date for date in dates if date > now), default=None)


def trust_key(verify: VerifyRecipe) -> list[object]:
    """Return what the policy depends on: the recipe's settings, and all files, also in folders.

    Raises:
        StorageError: a folder cannot be read.
    """
    files: list[str] = []
    for path in (*verify.trust, *verify.crl):
        try:
            inside = sorted(os.listdir(path)) if os.path.isdir(path) else ()
        except OSError as error:
            raise storage_error(error, "read", path) from None
        files += [os.path.join(path, name) for name in inside] or [path]
    return [verify.model_dump(mode="json"), input_hashes(files)]
