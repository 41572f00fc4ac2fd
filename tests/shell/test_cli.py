"""The command `otabuild` as a user runs it: exit codes, data on stdout, messages on stderr."""

from __future__ import annotations

import json

import pytest

from tests.shell.projects import RECIPE, STEPS, Project

RECIPE_PATH = "recipes/vehicle.yaml"


@pytest.mark.parametrize("arguments", [[], ["nothing"], ["build"], ["build", "a", "b"], ["verify", "--nothing", "x"]])
def test_wrong_usage_ends_with_2(project: Project, arguments: list[str]) -> None:
    done = project.otabuild(*arguments)
    assert done.code == 2
    assert "usage: otabuild" in done.err


@pytest.mark.parametrize("command", [["build"], ["plan"], ["list-image"], ["verify", "--ca-dir", "pki"]])
def test_what_is_not_there_ends_with_1(project: Project, command: list[str]) -> None:
    done = project.otabuild(*command, "nowhere")
    assert done.code == 1
    assert done.out == ""
    assert "error: nowhere" in done.err


@pytest.mark.parametrize(
    "option",
    [["--crl", "x"], ["--not-before", "2026-01-01"], ["--max-age", "1"], ["--allowed-signer", "x"], ["--eku-strict"]],
)
def test_a_policy_without_an_anchor_is_refused(project: Project, option: list[str]) -> None:
    project.build()
    without = ["verify-sign", "dist/vehicle.zip", "--no-trust"]
    assert project.otabuild(*without).code == 0
    done = project.otabuild(*without, *option)
    assert done.code == 1
    assert f"{option[0]}: needs a trust anchor" in done.err


def test_dates_are_judged_at_the_time_that_was_asked_for_without_an_anchor_too(project: Project) -> None:
    project.build()
    done = project.otabuild("verify-sign", "dist/vehicle.zip", "--no-trust", "--at", "2060-01-01")
    assert done.code == 1
    assert "expired" in done.err


def test_what_is_rebuilt_is_bounded_and_the_message_names_the_option(project: Project) -> None:
    project.build()
    verify = ["verify", "dist/vehicle.zip", "--ca", "pki/root-ca.pem"]
    cat = ["cat", "dist/vehicle.zip", "--ecu-id", "main", "/etc/hostname"]
    for command, option in [(verify, ["--max-content", "1"]), (verify, ["--max-minutes", "0"])]:
        done = project.otabuild(*command, *option)
        assert done.code == 1
        assert f"allow more: {option[0]}" in done.out
        assert "NOT VERIFIED (" in done.out
        assert "contents NOT CHECKED" in done.out
    assert "contents NOT" not in project.otabuild(*verify).out
    assert project.otabuild(*cat, "--max-content", "2 TiB").code == 0
    assert "is not a number of minutes" in project.otabuild(*cat, "--max-minutes", "x").err


def test_version(project: Project) -> None:
    assert project.otabuild("version").out.startswith("otabuild ")
    assert {"otabuild", "libzstd", "zstandard", "cryptography"} <= json.loads(
        project.otabuild("version", "--json").out
    ).keys()


def test_schema(project: Project) -> None:
    assert json.loads(project.otabuild("schema").out)["properties"].keys() >= {"recipe", "rootfs", "payloads"}


def test_a_starter_recipe_builds(project: Project) -> None:
    assert project.otabuild("init", "recipes/mine.yaml").code == 0
    assert project.otabuild("build", "recipes/mine.yaml").code == 0
    again = project.otabuild("init", "recipes/mine.yaml")
    assert again.code == 1
    assert "already exists" in again.err


def test_plan_changes_nothing_and_tells_why(project: Project) -> None:
    before = project.files()
    planned = json.loads(project.otabuild("plan", RECIPE_PATH, "--json").out)["steps"]
    assert [item["step"] for item in planned] == STEPS
    assert all(item["reasons"] == ["not built yet"] for item in planned)
    assert project.files() == before
    project.build()
    project.edit("platform: test", "platform: other")
    planned = json.loads(project.otabuild("plan", RECIPE_PATH, "--json").out)["steps"]
    assert {item["step"]: item["reasons"] for item in planned}["index:vehicle"] == ["changed: annotations"]


def test_json_stands_alone_on_stdout(project: Project) -> None:
    done = project.otabuild("build", RECIPE_PATH, "--json")
    assert json.loads(done.out)["sha256"] == project.sha256
    assert "build:vehicle" in done.err


def test_every_problem_of_a_recipe_is_told_at_once(project: Project) -> None:
    project.add_recipe("broken", RECIPE.replace("recipe: 1", "recipe: 2").replace("ecu: main", "ecu: ../x"))
    done = project.otabuild("build", "recipes/broken.yaml")
    assert done.code == 1
    assert "recipes/broken.yaml:1:" in done.err
    assert "recipes/broken.yaml:13:" in done.err


def test_debug_shows_the_traceback(project: Project) -> None:
    running = project.start("-m", "otabuild", "build", "-d", "nowhere")
    _, err = running.communicate(timeout=60)
    assert "Traceback" in err
    assert running.returncode == 1


@pytest.mark.parametrize("settings", [b"[tool.otabuild\n", b"a = '\xff'\n", b"a = " + b"[" * 10_000])
def test_settings_that_are_no_toml(project: Project, settings: bytes) -> None:
    (project.root / "pyproject.toml").write_bytes(settings)
    done = project.otabuild("build", RECIPE_PATH)
    assert done.code == 1
    assert "error: pyproject.toml: cannot read the settings" in done.err


@pytest.mark.parametrize("jobs", ["many", "0", "-1", "²", "9" * 5000])
def test_a_number_of_threads_that_is_none(project: Project, jobs: str) -> None:
    done = project.otabuild("build", RECIPE_PATH, OTABUILD_JOBS=jobs)
    assert done.code == 1
    assert "OTABUILD_JOBS" in done.err


def test_a_reader_that_has_seen_enough(project: Project) -> None:
    running = project.start("-m", "otabuild", "schema")
    assert running.stdout
    running.stdout.close()
    running.wait(timeout=60)
    assert running.stderr
    with running.stderr as stderr:
        assert "Traceback" not in stderr.read()
