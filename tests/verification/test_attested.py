"""Whether a statement is about an image: each subject that is wrong, missing or too many."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from otabuild.errors import IntegrityError, OtabuildError
from otabuild.format.statement import PROVENANCE, Digests, Statement, Subject
from otabuild.image.image import open_image
from otabuild.verification.attested import check_subjects, image_subjects
from tests.image import forge

OTHER = Digests(sha256="0" * 64)
Subjects = tuple[Subject, ...]


def about(subjects: Subjects) -> Statement:
    return Statement(subject=subjects, predicate_type=PROVENANCE, predicate={})


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return forge.forge().artifact(tmp_path_factory.mktemp("image") / "image.zip")


def test_the_subjects_are_artifact_index_and_payloads(artifact: Path) -> None:
    with open_image(artifact) as image:
        subjects = image_subjects(image, "image.zip")
        payloads = [f"payload {payload.name}" for payload in image.payloads]
        check_subjects(about(subjects), image, "file")
    assert [subject.name for subject in subjects] == ["image.zip", "index.json", *payloads]


def test_a_directory_has_no_artifact_to_look_at(tmp_path: Path, artifact: Path) -> None:
    with open_image(artifact) as image:
        subjects = image_subjects(image, "image.zip")
    with open_image(forge.forge().directory(tmp_path / "image")) as image:
        check_subjects(about(subjects), image, "file")
        assert image_subjects(image, "image.zip") == subjects[1:]


def test_one_without_an_artifact_is_about_its_contents(artifact: Path) -> None:
    with open_image(artifact) as image:
        check_subjects(about(image_subjects(image, "image.zip")[1:]), image, "file")


NEITHER = ("not in the attestation", "not in the image")


@pytest.mark.parametrize(
    ("change", "observed", "expected"),
    [
        (lambda one: (Subject(name="image.zip", digest=OTHER), *one[1:]), f"the artifact: {OTHER.sha256}", 0),
        (lambda one: one[:-1], f"payload main/dev: {NEITHER[0]}", 2),
        (lambda one: (*one[:-1], Subject(name=one[-1].name, digest=OTHER)), f"payload main/dev: {OTHER.sha256}", 2),
        (lambda one: (*one, Subject(name="payload x/dev", digest=OTHER)), f"payload x/dev: {OTHER.sha256}", None),
        (lambda one: (one[0], *one[2:]), f"index.json: {NEITHER[0]}", 1),
        (lambda _: (), f"index.json: {NEITHER[0]}", 1),
    ],
)
def test_what_is_about_another_image_is_told_by_the_first_subject_that_differs(
    artifact: Path, change: Callable[[Subjects], Subjects], observed: str, expected: int | None
) -> None:
    with open_image(artifact) as image:
        subjects = image_subjects(image, "image.zip")
        with pytest.raises(IntegrityError, match=r"^file: the attestation is about another image") as caught:
            check_subjects(about(change(subjects)), image, "file")
    assert caught.value.observed == observed
    assert "belongs to this image" in caught.value.hint
    assert caught.value.expected == (NEITHER[1] if expected is None else subjects[expected].digest.sha256)


@pytest.mark.parametrize("more", [Subject(name="other.zip", digest=OTHER), None])
def test_what_is_about_a_second_image_is_refused(artifact: Path, more: Subject | None) -> None:
    with open_image(artifact) as image:
        subjects = image_subjects(image, "image.zip")
        with pytest.raises(IntegrityError, match=r"^file: the attestation is about more than one image"):
            check_subjects(about((*subjects, more or subjects[0])), image, "file")


@pytest.mark.parametrize("step", [13, pytest.param(1, marks=pytest.mark.sweep)])
def test_a_change_of_any_byte_of_the_artifact_is_refused(tmp_path: Path, artifact: Path, step: int) -> None:
    raw, other = artifact.read_bytes(), tmp_path / "other.zip"
    with open_image(artifact) as image:
        statement = about(image_subjects(image, "image.zip"))
    for at in range(0, len(raw), step):
        other.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
        with pytest.raises(OtabuildError), open_image(other) as image:
            check_subjects(statement, image, "file")
