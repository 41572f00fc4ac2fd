"""Sign: signs index.json and, for legacy clients, the certificate."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from otabuild.errors import StateError
from otabuild.format.certificate import signing_key
from otabuild.format.index_jwt import NAME
from otabuild.format.legacy_jwt import CERTIFICATE_NAME
from otabuild.format.legacy_jwt import NAME as LEGACY_NAME
from otabuild.pipeline.outside_signatures import KnownSignatures, ReusingSigner, signing_requests
from otabuild.pipeline.settings import input_hashes
from otabuild.pipeline.step import KeyPart, Outcome, Step
from otabuild.pipeline.steps.index_step import IndexStep
from otabuild.pipeline.steps.preflight_step import check_signing
from otabuild.recipe.model import Recipe
from otabuild.recipe.sign import Sign, SigningKey, VerifyRecipe
from otabuild.signing.certificates import Certificate
from otabuild.signing.chain import load_chain
from otabuild.signing.signer import sign_index, sign_legacy
from otabuild.signing.signing_request import SigningRequest
from otabuild.storage import files


@dataclass(frozen=True)
class SignInputs:
    """What the signatures depend on.

    The preflight watches the rest, and index.json has the timestamp.
    """

    index_json: Annotated[str, KeyPart("index.json")]
    certificates: Annotated[Mapping[str, str | None], KeyPart("certificates")]
    key: Annotated[SigningKey, KeyPart("where the key is")]
    legacy: Annotated[bool, KeyPart("for legacy clients, too")]
    known: Annotated[tuple[str | None, ...], KeyPart("signatures that are known")]
    sign: Sign
    verify: VerifyRecipe | None
    timestamp: int
    target: str


@dataclass(frozen=True)
class Signed:
    """Digests of the written tokens and certificates, by file name."""

    tokens: Mapping[str, str]


@dataclass(frozen=True)
class SignStep(Step[SignInputs, Signed]):
    """Sign index.json and, for legacy clients, the certificate."""

    kind = "sign"
    doc = "sign index.json"
    follows = "index"
    asks = True
    results_type = Signed

    @property
    def outputs(self) -> tuple[str, ...]:
        """See `Step.outputs`."""
        legacy = [LEGACY_NAME, CERTIFICATE_NAME] if needs_legacy(self.recipe) else []
        return tuple(map(self.path, [NAME, *legacy]))

    @property
    def _sign(self) -> Sign:
        if self.recipe.sign is None:
            raise StateError("the recipe does not sign its image", where=self.recipe.file)
        return self.recipe.sign

    def inputs(self) -> SignInputs:
        """See `Step.inputs`."""
        sign, recipe = self._sign, self.recipe
        chain = load_chain(sign.certificate, sign.chain)
        known = self._known(chain)
        # What to sign is not even made if nothing is known: that loads PyJWT, and an HTTP client
        # with it.
        found = (
            known.find(request.digest)
            for request in (self._requests(chain) if known.has_any() else ())
        )
        return SignInputs(
            index_json=IndexStep(recipe, self.workspace).results().index_json,
            certificates=input_hashes([sign.certificate, *sign.chain]),
            key=sign.key,
            legacy=needs_legacy(recipe),
            # A new answer for the same bytes takes the place of the known one, and must be seen.
            known=tuple(None if signature is None else signature.hex() for signature in found),
            sign=sign,
            verify=recipe.verify,
            timestamp=recipe.timestamp,
            target=recipe.file,
        )

    def run(self, inputs: SignInputs) -> Outcome[Signed]:
        """See `Step.run`."""
        _, chain, signer = check_signing(
            inputs.sign, inputs.verify, inputs.timestamp, self.workspace, self.naming_key
        )
        reusing = ReusingSigner(self._known(chain).find, signer, inputs.target)
        index = files.read_file(self.path("index.json"))
        tokens = {NAME: sign_index(index, inputs.timestamp, chain, reusing)}
        if inputs.legacy:
            tokens[CERTIFICATE_NAME], tokens[LEGACY_NAME] = sign_legacy(chain, reusing)
        for name, token in tokens.items():
            files.write_file(self.path(name), token)
        return Outcome(
            Signed({name: hashlib.sha256(token).hexdigest() for name, token in tokens.items()})
        )

    def known(self) -> KnownSignatures:
        """Return the signatures made for this recipe with the key of its certificate."""
        return self._known(load_chain(self._sign.certificate, self._sign.chain))

    def _known(self, chain: tuple[Certificate, ...]) -> KnownSignatures:
        return KnownSignatures(self.path("signatures"), signing_key(chain[0].x509))

    def requests(self) -> tuple[SigningRequest, ...]:
        """Return what has to be signed for the index.json that was built last.

        Raises:
            StorageError: it has not been built yet.
            OtabuildError: the preflight failed.
        """
        verify, timestamp = self.recipe.verify, self.recipe.timestamp
        return self._requests(
            check_signing(self._sign, verify, timestamp, self.workspace, self.naming_key).chain
        )

    def _requests(self, chain: tuple[Certificate, ...]) -> tuple[SigningRequest, ...]:
        index = files.read_file(self.path("index.json"))
        return signing_requests(
            index, self.recipe.timestamp, chain, legacy=needs_legacy(self.recipe)
        )


def needs_legacy(recipe: Recipe) -> bool:
    """Whether a recipe requests files for legacy clients."""
    return recipe.otaclient_package is not None and recipe.otaclient_package.legacy
