"""cost: what a device downloads, why, and the budget."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from otabuild.cli import main
from otabuild.comparison.cost import MOST, Cost, cost
from otabuild.errors import FilterError, InputError
from otabuild.format.sizes import human_change, human_size, parse_size
from otabuild.image.image import open_image
from otabuild.image.storage_form import shares, stored_contents
from otabuild.signing.demo_pki import write_demo_pki
from tests.image.products import NOW, Tree, build, noise, update_pair
from tests.shared import ORACLE, REFERENCE

BASE, NEW = update_pair(33 << 20)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("pair")
    return build(folder / "base", BASE), build(folder / "new", NEW)


def cost_of(base: Path, new: Path, *which: str) -> Cost:
    with open_image(base) as old, open_image(new) as image:
        return cost(old, image, *which)


def test_what_changed_is_fetched_with_its_bundle_and_nothing_else(pair: tuple[Path, Path]) -> None:
    found = cost_of(*pair, "main")
    assert (found.changed, found.changed_bytes) == (3, 500 + 30_000 + 120_000)
    assert found.requests == 3
    why = {file.paths: file.why for file in found.files}
    assert why["/etc/007", "/etc/copy"].startswith("drags in bundle ")
    assert why["/usr/text",].startswith("compressed, ")
    assert why["/usr/noise",] == "stored unchanged, 29.3 KiB"
    assert abs(sum(file.download for file in found.files) - found.download) <= len(found.files)
    assert found.full_download > 33 << 20
    assert found.peak_disk > found.full_download + found.total
    assert found.total == found.download + found.metadata + found.documents
    assert found.total_requests == found.requests + found.document_requests == 3 + 6 - 1


def test_the_same_image_costs_its_metadata(pair: tuple[Path, Path]) -> None:
    found = cost_of(pair[0], pair[0], "main", "prd")
    assert (found.changed, found.download, found.requests, found.files) == (0, 0, 0, ())
    assert found.metadata > 0


def test_another_signature_costs_documents_and_tables_again(pair: tuple[Path, Path], tmp_path: Path) -> None:
    write_demo_pki(str(tmp_path), NOW)
    options = {"--certificate": "sign.pem", "--chain": "intermediate.pem", "--key": "sign.key", "-o": "signed.zip"}
    words = [word for option, name in options.items() for word in (option, str(tmp_path / name))]
    assert main(["sign", str(pair[0]), *words]) == 0
    found = cost_of(pair[0], tmp_path / "signed.zip", "main")
    with open_image(tmp_path / "signed.zip") as image:
        tables = image.payload("main").manifest.file_table, image.index.resource_table
        assert image.token_raw is not None
        assert found.documents > len(image.index_raw) + len(image.token_raw)
    assert (found.changed, found.requests, found.download) == (0, 0, 0)
    assert found.metadata == sum(table.size for table in tables)
    assert found.total == found.metadata + found.documents


def test_the_other_way_the_old_contents_cost(pair: tuple[Path, Path]) -> None:
    assert cost_of(pair[1], pair[0], "main").changed == 3


def test_shares_add_up_to_the_blobs(pair: tuple[Path, Path]) -> None:
    with open_image(pair[0]) as image:
        wanted = {entry.digest: entry for entry in image.payload("main").entries() if entry.digest}
        stored = list(stored_contents(image.resources, wanted))
    blobs = {leaf for content in stored for leaf in content.leaves}
    assert {content.form for content in stored} == {"bundled", "compressed", "sliced", "plain"}
    assert sum(shares(stored).values()) == pytest.approx(sum(size for _, size in blobs))


def test_no_such_payload(pair: tuple[Path, Path]) -> None:
    with pytest.raises(InputError, match="no such payload"):
        cost_of(*pair, "other")


def test_contents_without_a_resource_are_an_error(pair: tuple[Path, Path]) -> None:
    with open_image(pair[0]) as old, open_image(pair[1]) as new:
        vars(new)["resources"] = old.resources
        with pytest.raises(FilterError, match="not in the resource table"):
            cost(old, new, "main")


@pytest.mark.parametrize(("budget", "code"), [("1KiB", 1), ("300MiB", 0)])
def test_budget(pair: tuple[Path, Path], budget: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["cost", *map(str, pair), "--ecu-id", "main", "--max-download", budget]
    assert main(arguments) == code
    captured = capsys.readouterr()
    assert captured.out.splitlines()[1].startswith("download")
    assert ("more than --max-download 1.0 KiB" in captured.err) == bool(code)


def test_the_budget_is_exact(pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    total = cost_of(*pair, "main").total
    arguments = ["cost", *map(str, pair), "--ecu-id", "main", "--json", "--max-download"]
    assert main([*arguments, str(total)]) == 0
    assert main([*arguments, str(total - 1)]) == 1
    assert json.loads(capsys.readouterr().out.split("\n}\n")[0] + "\n}")["total"] == total


def test_a_wrong_budget_is_refused_before_anything_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["cost", "none", "none", "--ecu-id", "main", "--max-download", "much"])
    assert "--max-download: is not a size" in capsys.readouterr().err


def test_at_most_twenty_files_are_named(tmp_path: Path) -> None:
    old = build(tmp_path / "a", {"x": b"x"})
    new = build(tmp_path / "b", {f"f{n:02}": noise(n, 300) for n in range(30)})
    found = cost_of(old, new, "main")
    assert (found.changed, len(found.files)) == (30, MOST)
    assert "together with 29 other changed files" in found.files[0].why


@pytest.mark.skipif(not ORACLE.exists(), reason="needs the independent judge")
def test_equal_to_the_independent_judge(pair: tuple[Path, Path]) -> None:
    images = [*pair, REFERENCE]
    for base in images:
        for new in images:
            for ecu, key in (("main", "dev"), ("main", "prd")):
                found = cost_of(base, new, ecu, key).to_value()
                expected = judged(base, new, ecu, key)
                assert {name: found[name.replace("_", "-")] for name in expected} == expected


def judged(base: Path, new: Path, ecu: str, key: str) -> dict[str, Any]:
    command = [sys.executable, *map(str, (ORACLE, "cost", base, new)), "--ecu-id", ecu, "--release-key", key]
    value: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return value


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("4096", 4096), ("12B", 12), ("1.5 KiB", 1536), ("300MiB", 300 << 20), ("2TiB", 2 << 40)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "1MB", "-1", "1e3", "0x10", "1 MiB or so", "9" * 400, "1KiB\n"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(InputError, match="is not a size"):
        parse_size(text)


def test_sizes_read_well() -> None:
    assert [human_size(size) for size in (0, 1023, 1024, 5 << 20, 3 << 40, -2048)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "5.0 MiB",
        "3.00 TiB",
        "-2.0 KiB",
    ]
    assert human_change(1024, 3072) == "1.0 KiB -> 3.0 KiB (+2.0 KiB)"
    assert human_change(2, 1) == "2 B -> 1 B (-1 B)"
    assert human_change(5, 5) == "5 B, size unchanged"
    assert human_change(None, 5) == "unknown -> 5 B"


def test_all_ecus_together_fetch_a_blob_once(tmp_path: Path) -> None:
    old: Tree = {"a": noise(1, 5000), "only": noise(2, 5000)}
    new = old | {"shared": noise(3, 70_000)}
    both = [{"ecu": ecu, "rootfs": "main"} for ecu in ("main", "sub")]
    base = build(tmp_path / "base", old, payloads=both[:1])
    image = build(tmp_path / "new", new, payloads=both)
    alone, together = cost_of(base, image, "main"), cost_of(base, image)
    with pytest.raises(InputError, match="sub"):
        cost_of(base, image, "sub")
    assert together.changed == together.resources == 3  # the second ECU is new, and has nothing
    assert together.download == together.full_download
    assert together.metadata == alone.metadata  # they share the rootfs, and so its table
    assert alone.documents < together.documents < 2 * alone.documents
    assert together.peak_disk > alone.peak_disk
