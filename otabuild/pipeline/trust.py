"""From the `verify` section of a recipe to a trust policy."""

from __future__ import annotations

import os

from otabuild.errors import OtabuildError
from otabuild.pipeline.inputs import input_hashes
from otabuild.recipe.model import Recipe
from otabuild.recipe.signing import VerifyRecipe
from otabuild.signing.certificates import validity_state
from otabuild.signing.chain import load_chain
from otabuild.signing.revocation import currency_state, load_crls
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


def dates_key(recipe: Recipe, now: int) -> list[object]:
    """Which certificates and revocation lists are valid at this second (Unix time); empty where one cannot be read.

    Whoever needs that one then says what is wrong with it.
    """
    try:
        chain = load_chain(recipe.sign.certificate, recipe.sign.chain) if recipe.sign else ()
        policy = trust_policy(recipe.verify) if recipe.verify else TrustPolicy(anchors=())
    except OtabuildError:
        return []
    return [validity_state((*chain, *policy.anchors), now), currency_state(policy.crls, now)]


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
