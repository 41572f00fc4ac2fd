"""Valid recipes: the content of the model."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess

import pytest

from otabuild.errors import InputError, RecipeError
from otabuild.format import annotations as ann
from otabuild.recipe.context import Context, ask_git
from otabuild.recipe.fields import OciReference, PathBase
from otabuild.recipe.load import load_recipe, load_recipes, parse_recipe
from otabuild.recipe.model import Recipe
from otabuild.recipe.named_files import missing_inputs
from otabuild.recipe.places import clashes
from otabuild.recipe.sign import FileKey, Pkcs11Key
from otabuild.recipe.sources import DirectoryRecipe, DockerArchiveRecipe, OciRecipe, TarRecipe
from tests.recipe import world

GOOD = pathlib.Path(world.HERE) / "good"
SMALLEST = (GOOD / "smallest.yaml").read_text()
DIGEST = "sha256:" + 64 * "0"


def parse(text: str, context: Context = world.IN_GIT) -> Recipe:
    return parse_recipe(text.encode(), "stem", context, PathBase("/product/recipes", "/product"), "recipes/stem.yaml")


def test_defaults() -> None:
    recipe = parse(SMALLEST)
    main = recipe.rootfs["main"]
    assert recipe.name == "stem"
    assert recipe.file == "recipes/stem.yaml"
    assert recipe.output == "recipes/smallest.zip"
    assert recipe.timestamp == world.NOW
    assert recipe.payloads[0].release_keys == ("dev",)
    assert recipe.storage.profile == "update"
    assert (recipe.sign, recipe.verify, recipe.otaclient_package, recipe.output_dir) == (None, None, None, None)
    assert main.sources == (TarRecipe(tar="-"),)
    assert (main.owner, main.unsupported, main.one_file_system) == ("keep", "error", True)
    assert (main.prepare.clean, main.prepare.exclude, main.prepare.resolv_conf) == ("default", (), "stub")
    assert main.xattrs.drop == ("security.selinux", "user.containers.*")
    assert recipe.index_annotations == {}


def test_a_file_may_be_named_as_standard_input_is() -> None:
    text = SMALLEST.replace('tar: "-"', "tar: ./../-")
    assert parse(text).rootfs["main"].sources == (TarRecipe(tar="./-"),)


def test_every_key() -> None:
    recipe = load_recipe(GOOD / "every-key.yaml", world.IN_GIT, root=str(GOOD))
    assert recipe.output == "dist/vehicle-x-2026-01-01.zip"
    assert recipe.index_annotations[ann.PLATFORM] == "demo-platform"
    assert recipe.index_annotations["vnd.tier4.web-auto.cicd.release-name"] == "n"
    assert recipe.index_annotations["com.example.team"] == "x"
    assert recipe.rootfs["main"].overlay == (DirectoryRecipe(directory="overlays/main", owner="0:0"),)
    assert recipe.rootfs["main"].os.version == "22.04"
    assert recipe.payloads[0].hardware.series == "orin"
    assert recipe.sign
    assert recipe.sign.key == FileKey(file="certs/sign.key")


@pytest.mark.parametrize(
    ("text", "layout", "reference"),
    [
        ("layout", "layout", None),
        ("a.tar:localhost/vehicle:latest", "a.tar", "localhost/vehicle:latest"),  # as podman save names it
        ("layout:registry:5000/vehicle:1@" + DIGEST, "layout", DIGEST),
        ("job@2/layout:v1", "job@2/layout", "v1"),  # as Jenkins names the folders of parallel jobs
        ("job@2/layout@" + DIGEST, "job@2/layout", DIGEST),
    ],
)
def test_references_to_images(text: str, layout: str, reference: str | None) -> None:
    assert OciRecipe.model_validate({"oci": text}).oci == OciReference(layout, reference)


def test_every_source() -> None:
    recipe = load_recipe(GOOD / "every-source.yaml", world.IN_GIT, root=str(GOOD))
    main, sub = recipe.rootfs["main"], recipe.rootfs["sub"]
    first, second, archive, tar, folder = main.sources
    assert isinstance(first, OciRecipe)
    assert first.oci == OciReference("base", "bookworm")
    assert first == OciRecipe(oci="base:bookworm", platform="linux/arm64/v8")
    assert isinstance(second, OciRecipe)
    assert second.oci.reference
    assert second.oci.reference.startswith("sha256:0123")
    assert archive == DockerArchiveRecipe(**{"docker-archive": "image.tar"}, tag="vehicle:latest", owner="1000:1000")
    assert (tar.owner, folder.owner) == ("keep", None)
    assert main.set[0].mode == 0o755
    assert main.set[0].owner == (0, 0)
    assert main.base_image == "${not-a-reference}"
    assert (sub.architecture, sub.sources) == ("x86_64", main.sources)
    assert recipe.output == f"dist/layers-none-2026-01-02-{world.COMMIT}.zip"
    assert recipe.timestamp == 1767323045
    assert (recipe.storage.bundle_member_max, recipe.storage.bundle_size) == (32768, 1 << 20)
    assert recipe.sign
    assert isinstance(recipe.sign.key, Pkcs11Key)


def test_models_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        parse(SMALLEST).__setattr__("name", "other")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("now", world.NOW),
        ("commit", 1767323045),
        ("2026-01-01", 1767225600),
        ("2026-01-01T00:00:00", 1767225600),
        ("2026-01-01T01:00:00+01:00", 1767225600),
        ('"2026-01-01T00:00:00Z"', 1767225600),
        ("${env:TIME:-now}", world.NOW),
    ],
)
def test_timestamp(text: str, seconds: int) -> None:
    assert parse(SMALLEST.replace("now", text)).timestamp == seconds


def test_timestamp_defaults_to_commit() -> None:
    assert parse(SMALLEST.replace("timestamp: now\n", "")).timestamp == 1767323045


def test_source_date_epoch_wins_and_needs_no_git() -> None:
    context = Context(env={"SOURCE_DATE_EPOCH": "86400"}, git=world.no_git, now=world.NOW)
    recipe = parse(SMALLEST.replace("now", "commit").replace("smallest", "${date}"), context)
    assert recipe.timestamp == 86400
    assert recipe.output == "recipes/1970-01-02.zip"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("x.zip", "recipes/x.zip"),
        ("../x.zip", "x.zip"),
        ("./a/../x.zip", "recipes/x.zip"),
        ("../../x.zip", "/x.zip"),
        ("/product/x.zip", "x.zip"),
        ("/products/x.zip", "/products/x.zip"),
        ("${git:branch}-${git:describe}.zip", "recipes/main-v1.2.zip"),
        ("${env:EMPTY:-x}$${env:A}", "recipes/x${env:A}"),
    ],
)
def test_paths_become_relative_to_the_root(written: str, read: str) -> None:
    context = Context(env={"EMPTY": ""}, git=world.git, now=0)
    assert parse(SMALLEST.replace("smallest.zip", written), context).output == read


def test_the_root_of_the_host_is_a_path() -> None:
    assert PathBase("/product/recipes", "/product").relative("../..") == "/"


def test_what_a_reference_gives_is_not_read_again() -> None:
    context = Context(env={"A": "${date}"}, git=world.git, now=0)
    assert parse(SMALLEST.replace("smallest.zip", "${env:A}"), context).output == "recipes/${date}"


def test_an_empty_variable_is_empty_without_a_default() -> None:
    context = Context(env={"A": ""}, git=world.git, now=0)
    assert parse(SMALLEST.replace("smallest", "a${env:A}b"), context).output == "recipes/ab.zip"


def test_missing_inputs_leave_sources_alone(tmp_path: pathlib.Path) -> None:
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    text = (GOOD / "every-key.yaml").read_text()
    (recipes / "full.yaml").write_text(text)
    (recipes / "certs").mkdir()
    (recipes / "certs" / "sign.pem").touch()
    recipe = load_recipe(recipes / "full.yaml", world.IN_GIT, root=str(tmp_path))
    missing = {problem.place.key: problem for problem in missing_inputs(recipe, str(tmp_path))}
    assert list(missing) == [
        "payloads[0].sys-config",
        "otaclient-package.release-dir",
        "sign.chain[0]",
        "sign.key.file",
        "verify.trust[0]",
    ]
    problem = missing["sign.key.file"]
    assert problem.observed == "recipes/certs/sign.key"
    assert "certs/sign.key" in text.splitlines()[problem.place.line - 1]


def test_a_base_that_is_missing(tmp_path: pathlib.Path) -> None:
    recipe = load_recipe(GOOD / "every-source.yaml", world.IN_GIT, root=str(tmp_path))
    missing = [problem.place.key for problem in missing_inputs(recipe, str(tmp_path))]
    assert missing == ["storage.base", "sign.certificate", "verify.trust[0]", "verify.crl[0]"]


@pytest.mark.parametrize(
    ("output", "what"),
    [
        ("link.zip", "is the same place as rootfs.main.source.tar"),
        ("tree.tar", "is the same place as rootfs.main.source.tar"),
        ("behind/a.zip", "is inside rootfs.main.overlay[0].directory"),
        ("out/link", ""),
    ],
)
def test_links_hide_no_clash(tmp_path: pathlib.Path, output: str, what: str) -> None:
    """An output over a link replaces the link, and the file behind it stays; neither may be an input."""
    for folder in ("overlay", "out"):
        (tmp_path / folder).mkdir()
    for name, target in (("link.zip", "real.tar"), ("tree.tar", "real.tar"), ("behind", "overlay"), ("out/link", "x")):
        (tmp_path / name).symlink_to(target)
    (tmp_path / "real.tar").touch()
    text = SMALLEST.replace('{tar: "-"}', "{tar: tree.tar}\n    overlay: [{directory: overlay}]")
    (tmp_path / "r.yaml").write_text(text.replace("smallest.zip", output))
    try:
        load_recipe(tmp_path / "r.yaml", world.IN_GIT, root=str(tmp_path))
        found = ""
    except RecipeError as error:
        (problem,) = error.problems
        found = problem.what
    assert found == what


@pytest.mark.parametrize(
    ("work", "clash"),
    [
        ("dist/vehicle", "output-dir: is the same place as the work directory"),
        ("dist/vehicle/.otabuild/", "output-dir: contains the work directory"),
        ("dist", "output: is inside the work directory"),
        ("build/.otabuild", None),
    ],
)
def test_outputs_and_the_work_directory(tmp_path: pathlib.Path, work: str, clash: str | None) -> None:
    shutil.copy(GOOD / "every-key.yaml", tmp_path)
    recipe = load_recipe(tmp_path / "every-key.yaml", world.IN_GIT, root=str(tmp_path))
    found = [f"{problem.place.key}: {problem.what}" for problem in clashes(recipe, str(tmp_path), work=work)]
    assert found[:1] == ([clash] if clash else [])


def test_folder_of_recipes(tmp_path: pathlib.Path) -> None:
    for name, text in {
        "a.yaml": SMALLEST,
        "b.yml": SMALLEST + "name: twin\n",
        "c.yaml": SMALLEST + "name: twin\n",
        "bad.yaml": "recipe: 1\n",
        "notes.txt": "-",
        ".hidden.yaml": "-",
    }.items():
        (tmp_path / name).write_text(text)
    good, errors = load_recipes(tmp_path, world.IN_GIT, root=str(tmp_path))
    assert list(good) == ["a"]
    assert sorted(errors) == ["b", "bad", "c"]
    assert "is also used by c.yaml" in str(errors["b"])


def test_folder_that_is_not_there(tmp_path: pathlib.Path) -> None:
    with pytest.raises(RecipeError, match="there is no folder of recipes"):
        load_recipes(tmp_path / "none", world.IN_GIT)


def test_git_is_asked_in_the_folder_of_the_recipe(tmp_path: pathlib.Path) -> None:
    who = ["-c", "user.name=n", "-c", "user.email=e@example.com"]
    env = {**os.environ, "GIT_COMMITTER_DATE": "1700000000 +0000", "GIT_CONFIG_GLOBAL": "/dev/null"}
    for command in (["init", "-q", "-b", "größe"], [*who, "commit", "-q", "--allow-empty", "-m", "one"], ["tag", "v1"]):
        subprocess.run(["git", *command], cwd=tmp_path, env=env, check=True)
    answers = [ask_git(str(tmp_path), what) for what in ("describe", "branch", "time")]
    assert answers == ["v1", "größe", "1700000000"]
    assert len(ask_git(str(tmp_path), "commit")) == 40


@pytest.mark.parametrize(
    ("what", "hint"), [("time", "no commit yet"), ("commit", "no commit yet"), ("describe", "env:")]
)
def test_advice_does_not_depend_on_the_language_of_git(
    what: str, hint: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("LC_ALL", "C.UTF-8"), ("LANGUAGE", "tr")):  # Turkish without a Turkish locale
        monkeypatch.setenv(name, value)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    with pytest.raises(InputError) as caught:
        ask_git(str(tmp_path), what)
    assert hint in str(caught.value.hint)


def test_git_outside_a_repository(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(InputError, match="SOURCE_DATE_EPOCH"):
        ask_git(str(tmp_path), "time")
    with pytest.raises(InputError, match="RELEASE_DESCRIBE"):
        ask_git(str(tmp_path), "describe")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="cannot run git"):
        ask_git(str(tmp_path), "commit")
