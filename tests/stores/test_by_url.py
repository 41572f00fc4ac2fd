"""Every command that reads an image reads it by URL, from each kind of server, and says the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from otabuild import cli
from otabuild.errors import InputError, OtabuildError
from otabuild.image.image import Image, open_image
from otabuild.stores.open_by_url import split_url
from otabuild.stores.open_store import open_store
from otabuild.verification.verify import verify
from otabuild.verification.verify_resources import verify_resources
from tests import pki
from tests.image import forge, worlds
from tests.stores.images import FORMS, put_images
from tests.stores.kinds import READ_ONLY, WRITABLE, place_of

IMAGE = forge.forge()


@pytest.fixture(params=[*WRITABLE, READ_ONLY])
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a store with the same image in each form."""
    place, url = place_of(request.param, tmp_path.name, request, monkeypatch)
    store = open_store(place)
    put_images(store, IMAGE)
    store.close()
    return f"file://{url}" if request.param == "folder" else url


@pytest.fixture(params=FORMS)
def url(request: pytest.FixtureRequest, root: str) -> str:
    return f"{root}/{request.param}"


@pytest.fixture
def local(tmp_path: Path) -> Path:
    return IMAGE.artifact(tmp_path / "local.zip")


MAIN = ["--ecu-id", "main"]
COMMANDS: list[list[str]] = [
    ["list-image", "IMAGE", "--json"],
    ["inspect-index", "IMAGE"],
    ["lookup-image", "IMAGE", *MAIN],
    ["ls", "IMAGE", *MAIN, "/etc", "--json"],
    ["stat", "IMAGE", *MAIN, "/etc/a", "--json"],
    ["cat", "IMAGE", *MAIN, "/bin/big"],
    ["cat", "IMAGE", *MAIN, "/etc/b"],
    ["verify", "IMAGE", "--no-signature", "--json"],
    ["verify", "IMAGE", "--no-signature", "--shallow", "--json"],
    ["verify-sign", "IMAGE", "--no-trust", "--at", "2026-03-01", "--json"],
    ["verify-resources", "IMAGE", "--json"],
    ["otaclient-package", "IMAGE", "--json"],
    ["diff", "IMAGE", "IMAGE", "--json"],
    ["cost", "IMAGE", "IMAGE", *MAIN, "--json"],
    ["lint", "IMAGE", "--json"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_says_the_same_by_url(
    command: list[str], root: str, local: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    due = run(command, str(local), capfd)
    for form in FORMS:
        seen = run(command, f"{root}/{form}", capfd)
        if isinstance(seen, dict) and not root.startswith("file"):
            traffic = seen.pop("traffic")
            assert traffic["requests"] > 0
            assert traffic["bytes"] > 0
        if command[0] == "list-image":
            seen["artifact"], seen["size"] = due["artifact"], due["size"]
        if command[0] == "verify":
            seen.pop("not-looked-for", None)
        assert seen == due, form


def run(command: list[str], image: str, capfd: pytest.CaptureFixture[str]) -> Any:
    """Run a command in this process; return what it prints, without names of the image."""
    code = cli.main([image if word == "IMAGE" else word for word in command])
    shown = capfd.readouterr()
    text = shown.out.replace(image, "IMAGE").replace(image.removeprefix("file://"), "IMAGE")
    assert code == 0, shown.err
    return json.loads(text) if "--json" in command else text


def test_an_image_is_verified_and_deployed(url: str, tmp_path: Path, local: Path) -> None:
    with open_image(url) as image:
        report = verify(image, forge.policy(), pki.NOW)
    assert report.ok
    assert report.findings == ()
    assert worlds.deploy_error(url, tmp_path / "by-url.tar") is None
    assert worlds.deploy_error(local, tmp_path / "local.tar") is None
    assert (tmp_path / "by-url.tar").read_bytes() == (tmp_path / "local.tar").read_bytes()


def test_contents_come_in_the_order_in_which_an_artifact_stores_their_blobs(local: Path) -> None:
    with open_image(local) as image:
        groups = {by_blob: list(image.resources.groups(lambda row: row, by_blob=by_blob)) for by_blob in (False, True)}
    blobs = [
        plan.leaves[0].digest
        for group in groups[True]
        for plan in ([group.bundle] if group.bundle else [member.plan for member in group.members])
        if plan is not None
    ]
    assert blobs == sorted(blobs)
    assert len(blobs) > 4
    rows = [sorted(member.row for group in found for member in group.members) for found in groups.values()]
    assert rows[0] == rows[1]


def test_a_whole_verification_reads_each_byte_once(url: str) -> None:
    if url.startswith("file:"):
        pytest.skip("no server counts")
    with open_image(url) as image:
        assert verify(image, forge.policy(), pki.NOW).ok
        requests, size = traffic(image)
        files = [content for name, content in IMAGE.files if not name.endswith("/")]
        most = sum(map(len, files))
    if url.endswith(".zip"):
        assert requests <= 2 + len(files)
        most = 2 * most
    else:
        assert requests <= len(files) + 6  # a look for files of legacy clients, and for blobs in another place
    assert size <= most


def test_reading_one_file_takes_few_requests(url: str) -> None:
    if url.startswith("file:"):
        pytest.skip("no server counts")
    with open_image(url) as image, image.payload("main").open("/etc/a") as file:
        assert file.read() == forge.MEMBERS[0]
        requests, _size = traffic(image)
    assert requests <= 8  # index, manifest, two tables, one blob, and what it takes to find them


def traffic(image: Image) -> tuple[int, int]:
    found = image.source.traffic()
    assert found is not None
    return found


@pytest.mark.parametrize("missing", ["nothing", "nothing.zip", "releases/2.0", "directory/blobs/"])
def test_what_is_not_there_is_no_image(missing: str, root: str) -> None:
    with pytest.raises(OtabuildError, match=r"no such image|not an OTA image"):
        open_image(f"{root}/{missing}")


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("s3://bucket", ("s3://bucket", "")),
        ("https://host/", ("https://host", "")),
        ("https://host/image.zip", ("https://host", "image.zip")),
        ("s3://bucket/a/b/image.zip", ("s3://bucket/a/b", "image.zip")),
        ("s3://bucket/releases/1.0", ("s3://bucket", "releases/1.0")),
        ("s3://bucket/a/releases/1.0/", ("s3://bucket/a", "releases/1.0")),
        ("https://host/a%20b/releases/1%2C0", ("https://host/a%20b", "releases/1,0")),
        ("https://releases/1.0", ("https://releases", "1.0")),
    ],
)
def test_an_image_is_in_a_store(url: str, parts: tuple[str, str]) -> None:
    assert split_url(url) == parts


@pytest.mark.parametrize("command", [["list-image"], ["verify", "--no-signature"], ["ls", *MAIN, "/"]])
def test_a_password_in_a_url_is_refused_and_not_shown(command: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    url = "https://user:hunter2@host/releases/1.0"
    assert cli.main([command[0], url, *command[1:]]) == 1
    shown = capfd.readouterr()
    assert "hunter2" not in shown.out + shown.err
    assert "netrc" in shown.err


def test_a_path_needs_no_library_for_urls(local: Path) -> None:
    code = (
        "import sys; from otabuild.image.image import open_image\n"
        "with open_image(sys.argv[1]) as image: image.index, image.payloads[0].config, image.resources\n"
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "assert not loaded & {'obstore', 'asyncio', 'netrc'}, loaded\n"
        "assert 'otabuild.stores.open_by_url' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, str(local)], check=True, cwd=Path(__file__).parents[2])


def test_a_url_without_scheme_of_a_store_is_refused() -> None:
    with pytest.raises(InputError, match="not a store"):
        open_image("ftp://host/releases/1.0")


def test_blobs_that_are_named_are_hashed_by_url(url: str) -> None:
    with open_image(url) as image:
        report = verify_resources(image, [forge.digest_text(forge.RANDOM), forge.digest_text(b"of no image")])
    assert report.blobs == 2
    assert [finding.what for finding in report.findings] == ["missing"]


@pytest.mark.parametrize("form", ["directory", "releases/1.0"])
def test_a_document_that_cannot_be_read_is_all_that_is_told_of_an_image_by_url(form: str, tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}/store")
    put_images(store, forge.forge(manifest_raw=lambda _: b"no JSON"))
    store.close()
    found = worlds.errors_of(f"file://{tmp_path}/store/{form}")  # type: ignore[arg-type]  # as `open_image` takes it
    assert found == {"manifest"}
