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


@pytest.mark.parametrize(
    "change",
    [
        lambda subjects: (Subject(name="image.zip", digest=OTHER), *subjects[1:]),
        lambda subjects: subjects[:-1],
        lambda subjects: (*subjects[:-1], Subject(name=subjects[-1].name, digest=OTHER)),
        lambda subjects: (*subjects, Subject(name="payload other/dev", digest=OTHER)),
        lambda subjects: (*subjects, Subject(name="other.zip", digest=OTHER)),
        lambda subjects: (*subjects, subjects[0]),
        lambda subjects: (subjects[0], *subjects[2:]),
        lambda _subjects: (),
    ],
)
def test_what_is_about_something_else_is_refused(artifact: Path, change: Callable[[Subjects], Subjects]) -> None:
    with open_image(artifact) as image:
        statement = about(change(image_subjects(image, "image.zip")))
        with pytest.raises(
            IntegrityError,
            match=r"^file: the attestation is about (another image \(observed .+, expected |more than one image)",
        ):
            check_subjects(statement, image, "file")


@pytest.mark.parametrize("step", [13, pytest.param(1, marks=pytest.mark.sweep)])
def test_a_change_of_any_byte_of_the_artifact_is_refused(tmp_path: Path, artifact: Path, step: int) -> None:
    raw, other = artifact.read_bytes(), tmp_path / "other.zip"
    with open_image(artifact) as image:
        statement = about(image_subjects(image, "image.zip"))
    for at in range(0, len(raw), step):
        other.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
        with pytest.raises(OtabuildError), open_image(other) as image:
            check_subjects(statement, image, "file")
