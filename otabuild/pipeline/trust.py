"""From the `verify` section of a recipe to a trust policy."""

from __future__ import annotations

import os

from otabuild.pipeline.inputs import input_hashes
from otabuild.recipe.signing import VerifyRecipe
from otabuild.signing.revocation import load_crls
from otabuild.signing.trust import TrustPolicy, load_anchors
from otabuild.storage.fs import storage_error


def trust_policy(verify: VerifyRecipe) -> TrustPolicy:
    """Whom a recipe trusts.

    Raises:
        InputError: a file is no PEM certificate or no revocation list.
        StorageError: a file cannot be read.
        TrustError: there is no trust anchor among the files.
    """
    return TrustPolicy(
        anchors=load_anchors(verify.trust),
        allowed_signers=frozenset(verify.allowed_signers),
        crls=load_crls(verify.crl),
        strict_eku=verify.eku == "strict",
    )


def trust_key(verify: VerifyRecipe) -> list[object]:
    """What the policy depends on: the recipe's words, and every file that it is read from; of a folder, all in it.

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
