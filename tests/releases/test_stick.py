"""What a field client asks a stick for is there, under the name that it asks for, and nothing else."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

import pytest
import zstandard

from otabuild.cli import main
from otabuild.errors import InputError, StateError
from otabuild.format.filters import Bundled, Compressed, Sliced, parse_filter
from otabuild.image.image import Image, open_image
from otabuild.releases.stick import write_stick
from tests.image import forge
from tests.image.products import Tree, build
from tests.pki import signer
from tests.shared import REFERENCE, has_fixtures

BASE: Tree = {
    **{f"etc/{n:03}": bytes([n]) * 500 for n in range(40)},
    "usr/text": b"words " * 20_000,
    "usr/noise": os.urandom(70_000),
    "usr/large": os.urandom(33 << 20),
    "tiny": b"t",
}
NEW: Tree = BASE | {"usr/more": b"other words " * 20_000, "etc/007": b"changed" * 90, "usr/extra": os.urandom(70_000)}


class Client:
    """Fetches as field clients do, through a proxy that has the stick and no network."""

    def __init__(self, stick: Path) -> None:
        self.stick = stick
        self.asked: set[str] = set()

    def get(self, digest: bytes, *, is_compressed: bool = False) -> bytes:
        """Return the bytes with this digest; a client says so if it decompresses what arrives."""
        for name in (f"{digest.hex()}.zst", digest.hex()):
            path = self.stick / "data" / name
            if path.exists():
                self.asked.add(name)
                raw = path.read_bytes()
                content = zstandard.ZstdDecompressor().decompressobj().decompress(raw) if ".zst" in name else raw
                assert hashlib.sha256(content).digest() == digest
                assert ".zst" in name or not is_compressed, "the client would decompress it"
                return content
        raise FileNotFoundError(digest.hex())

    def update(self, image: Image, held: Iterable[bytes] = ()) -> None:
        """Fetch what an update to an image needs, for every payload."""
        self.get(hashlib.sha256(image.index_raw).digest())
        for payload in image.payloads:
            config = payload.config
            documents = [payload.descriptor, payload.manifest.config, payload.manifest.file_table]
            for descriptor in [*documents, image.index.resource_table, *filter(None, [config.sys_config])]:
                self.get(descriptor.digest)
            for digest, size in payload.contents().items():
                if digest not in held:
                    assert len(self.content(image, digest)) == size

    def content(self, image: Image, digest: bytes) -> bytes:
        row = image.resources.by_digest(digest)
        assert row is not None
        if row.filter_applied is None:
            return self.get(digest)
        applied = parse_filter(row.filter_applied, "")
        if isinstance(applied, Bundled):
            bundle = self.content(image, image.resources.by_id(applied.bundle_id, "").digest)
            return bundle[applied.offset : applied.offset + applied.length]
        if isinstance(applied, Sliced):
            return b"".join(self.get(image.resources.by_id(part, "").digest) for part in applied.resource_ids)
        assert isinstance(applied, Compressed)
        inner = image.resources.by_id(applied.resource_id, "")
        if inner.filter_applied is None:
            return self.get(digest, is_compressed=True)
        return zstandard.ZstdDecompressor().decompress(self.content(image, inner.digest))


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two signed images, made by the real builder."""
    folder = tmp_path_factory.mktemp("pair")
    (folder / "key.pem").write_bytes(signer().key_pem())
    (folder / "chain.pem").write_bytes(signer().pem)
    sign = {"key": {"file": str(folder / "key.pem")}, "certificate": str(folder / "chain.pem"), "chain": []}
    return build(folder / "old", BASE, sign=sign), build(folder / "new", NEW, sign=sign)


def test_a_client_finds_all_it_asks_for_and_there_is_nothing_else(pair: tuple[Path, Path], tmp_path: Path) -> None:
    client = Client(tmp_path / "stick")
    with open_image(pair[1]) as image:
        written = write_stick({"2.0": image}, tmp_path / "stick")
        client.update(image)
        assert (tmp_path / "stick/releases/2.0/index.jwt").read_bytes() == image.token_raw
    assert client.asked == set(os.listdir(tmp_path / "stick/data"))
    assert written.files == len(client.asked)


def test_every_form_of_storage_is_found(tmp_path: Path) -> None:
    client = Client(tmp_path / "stick")
    with open_image(forge.forge(second=lambda one: one).artifact(tmp_path / "image.zip")) as image:
        write_stick({"1": image}, tmp_path / "stick")
        client.update(image)
    assert client.asked == set(os.listdir(tmp_path / "stick/data"))


def test_what_devices_with_the_base_have_is_left_out(pair: tuple[Path, Path], tmp_path: Path) -> None:
    client = Client(tmp_path / "stick")
    with open_image(pair[0]) as base, open_image(pair[1]) as image:
        write_stick({"2.0": image}, tmp_path / "stick", [base])
        client.update(image, base.payload("main").contents())
    assert client.asked == set(os.listdir(tmp_path / "stick/data"))
    assert sum(len(content) for content in snapshot(tmp_path / "stick").values()) < 1 << 20


def test_several_images_share_files_and_the_result_is_the_same(pair: tuple[Path, Path], tmp_path: Path) -> None:
    with open_image(pair[0]) as old, open_image(pair[1]) as new:
        write_stick({"1.0": old, "2.0": new}, tmp_path / "one")
        write_stick({"2.0": new}, tmp_path / "two")
        write_stick({"1.0": old}, tmp_path / "two")
        write_stick({"2.0": new}, tmp_path / "alone")
    assert snapshot(tmp_path / "one") == snapshot(tmp_path / "two")
    large = 33 << 20
    assert (
        sum(map(len, snapshot(tmp_path / "one").values()))
        < sum(map(len, snapshot(tmp_path / "alone").values())) + large
    )


def test_what_is_damaged_on_the_stick_is_written_again(pair: tuple[Path, Path], tmp_path: Path) -> None:
    with open_image(pair[1]) as image:
        write_stick({"2.0": image}, tmp_path / "stick")
        right = snapshot(tmp_path / "stick")
        for name in sorted(right)[::3]:
            (tmp_path / "stick" / name).write_bytes(b"rot")
        write_stick({"2.0": image}, tmp_path / "stick")
    assert snapshot(tmp_path / "stick") == right


def test_an_unsigned_image_is_refused(tmp_path: Path) -> None:
    image = build(tmp_path / "unsigned", {"a": b"a"})
    with open_image(image) as opened, pytest.raises(InputError, match="not signed"):
        write_stick({"1": opened}, tmp_path / "stick")
    assert not (tmp_path / "stick").exists()


def test_an_image_is_not_written_into_itself(tmp_path: Path) -> None:
    image = forge.forge().directory(tmp_path / "image")
    with open_image(image) as opened, pytest.raises(StateError, match="inside the image"):
        write_stick({"1": opened}, image)


@has_fixtures
def test_an_image_of_the_reference_builder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["offline", str(REFERENCE), "-o", str(tmp_path / "stick"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["releases"] == ["reference-full"]
    assert told["files"] == len(os.listdir(tmp_path / "stick/data"))
    client = Client(tmp_path / "stick")
    with open_image(REFERENCE) as image:
        client.update(image)


def test_two_images_of_one_name_are_refused(
    pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["offline", *map(str, pair), "-o", str(tmp_path / "stick")]) == 1
    told = capsys.readouterr().err
    assert "two images of the same name" in told
    assert all(str(path) in told for path in pair)
