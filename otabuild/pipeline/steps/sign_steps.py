"""The steps for the signature: the preflight before any work, and signing after it."""

from __future__ import annotations

import hashlib
import os
from functools import partial

from otabuild.errors import Finding, RecipeError
from otabuild.format.index_jwt import signing_key
from otabuild.format.legacy_jwt import CERTIFICATE_NAME
from otabuild.format.legacy_jwt import NAME as LEGACY_NAME
from otabuild.format.times import DAY
from otabuild.pipeline.job import Job
from otabuild.pipeline.outside_signatures import KnownSignatures, ReusingSigner, signing_requests
from otabuild.pipeline.own_steps import has_input_step
from otabuild.pipeline.settings import input_hashes
from otabuild.pipeline.signers import make_signer
from otabuild.pipeline.step import Key, Outcome, Step
from otabuild.pipeline.trust_settings import next_date, trust_key, trust_policy
from otabuild.recipe.named_files import bad_sys_configs, missing_inputs
from otabuild.recipe.sign import EnvKey, FileKey, Sign
from otabuild.recipe.surroundings import bad_surroundings
from otabuild.signing.certificates import Certificate
from otabuild.signing.chain import load_chain
from otabuild.signing.preflight import preflight
from otabuild.signing.signer import Signer, sign_index, sign_legacy
from otabuild.signing.signing_request import SigningRequest
from otabuild.storage import files


def preflight_step(job: Job) -> Step:
    """Check everything that can be checked before any work is done."""
    recipe = job.recipe

    def problems() -> list[Finding]:
        surroundings = bad_surroundings(recipe, job.workspace.now, partial(has_input_step, recipe.name))
        return [*missing_inputs(recipe), *bad_sys_configs(recipe), *surroundings]

    def run() -> Outcome:
        if found := problems():
            raise RecipeError(found)
        warnings = _preflight(job, recipe.sign)[0] if recipe.sign else []
        for warning in warnings:
            job.workspace.warn(warning)
        return Outcome({}, {"warnings": warnings}, until=next_date(recipe, job.workspace.now))

    def key() -> Key:
        small = [path for payload in recipe.payloads if (path := payload.sys_config)]
        return {
            "certificates and key": recipe.sign and _sign_key(job, recipe.sign),
            "whom to trust": recipe.verify and trust_key(recipe.verify),
            "timestamp": recipe.timestamp,
            "today's date": job.workspace.now // DAY,
            "sys_config files": input_hashes(small),
            "what is missing or in the way": [problem.message for problem in problems()],
        }

    return job.step("preflight", doc="check key, certificates and dates", after=(), key=key, run=run)


def _sign_key(job: Job, sign: Sign) -> Key:
    """Return what the preflight of a signature depends on: of a key only a digest, of a passphrase nothing at all."""
    found: Key = {"sign": sign.model_dump(mode="json"), "files": input_hashes([sign.certificate, *sign.chain])}
    if isinstance(sign.key, FileKey):
        found["key"] = input_hashes([sign.key.file])
    elif isinstance(sign.key, EnvKey):
        found["key"] = hashlib.sha256(os.fsencode(job.workspace.environ.get(sign.key.env, ""))).hexdigest()
    return found


def _preflight(job: Job, sign: Sign) -> tuple[list[str], tuple[Certificate, ...], Signer | None]:
    """Check everything; return the warnings and the means to sign."""
    chain = load_chain(sign.certificate, sign.chain)
    signer = make_signer(sign, job.workspace)
    policy = trust_policy(job.recipe.verify) if job.recipe.verify else None
    public_key = signer.public_key if signer else None
    warnings = preflight(chain, public_key, job.recipe.timestamp, job.workspace.now, policy=policy)
    return warnings, chain, signer


def sign_step(job: Job, sign: Sign) -> Step:
    """Sign index.json and, for legacy clients, the certificate."""
    legacy = needs_legacy(job)
    names = ["index.jwt", *([LEGACY_NAME, CERTIFICATE_NAME] if legacy else [])]

    def run() -> Outcome:
        _, chain, signer = _preflight(job, sign)
        signer = ReusingSigner(known_signatures(job, chain).find, signer, job.recipe.file)
        index = files.read_file(job.path("index.json"))
        tokens = {"index.jwt": sign_index(index, job.recipe.timestamp, chain, signer)}
        if legacy:
            tokens[CERTIFICATE_NAME], tokens[LEGACY_NAME] = sign_legacy(chain, signer)
        for name, token in tokens.items():
            files.write_file(job.path(name), token)
        return Outcome({name: hashlib.sha256(token).hexdigest() for name, token in tokens.items()}, {})

    def key() -> Key:
        return {
            "index.json": job.results("index")["index.json"],
            "certificates": input_hashes([sign.certificate, *sign.chain]),
            "where the key is": sign.key if isinstance(sign.key, str) else sign.key.model_dump(mode="json"),
            "for legacy clients, too": legacy,
            "signatures that are known": _known(job, sign),
        }

    return job.step(
        "sign",
        doc="sign index.json",
        after=(job.name("index"),),
        key=key,
        outputs=tuple(job.path(name) for name in names),
        run=run,
    )


def _known(job: Job, sign: Sign) -> list[str | None]:
    """Return the known signatures of what has to be signed: a different valid one has to be used, too."""
    chain = load_chain(sign.certificate, sign.chain)
    index = files.read_file(job.path("index.json"))
    requests = signing_requests(index, job.recipe.timestamp, chain, legacy=needs_legacy(job))
    known = known_signatures(job, chain)
    return [None if found is None else found.hex() for found in (known.find(request.digest) for request in requests)]


def needs_legacy(job: Job) -> bool:
    """Whether the recipe requests files for legacy clients."""
    package = job.recipe.otaclient_package
    return package is not None and package.legacy


def known_signatures(job: Job, chain: tuple[Certificate, ...]) -> KnownSignatures:
    """Return the signatures made for this recipe with the key of its certificate."""
    return KnownSignatures(job.path("signatures"), signing_key(chain[0].x509))


def recipe_requests(job: Job, sign: Sign) -> tuple[SigningRequest, ...]:
    """Return what has to be signed for the index.json that was built last.

    Raises:
        StorageError: it has not been built yet.
        OtabuildError: the preflight failed.
    """
    _, chain, _ = _preflight(job, sign)
    index = files.read_file(job.path("index.json"))
    return signing_requests(index, job.recipe.timestamp, chain, legacy=needs_legacy(job))
