"""Loads recipes: turns YAML into models and reports all problems of a file at once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from otabuild.errors import Finding, InputError, Place, RecipeError, StorageError
from otabuild.findings import findings_of
from otabuild.format import limits
from otabuild.format.strict_yaml import YamlError, YamlNode, parse_yaml
from otabuild.format.times import utc_date
from otabuild.recipe.checks import RecipeSubject
from otabuild.recipe.context import Context
from otabuild.recipe.diagnose import key_path, problems
from otabuild.recipe.fields import PathBase, RefusedError
from otabuild.recipe.model import Recipe
from otabuild.recipe.named_files import problem_at
from otabuild.recipe.places import clashes
from otabuild.recipe.substitute import build_time, substitute
from otabuild.recipe.suggest import nearest
from otabuild.storage.files import read_file

_INIT = "`otabuild init` writes a first recipe"


def load_recipe(
    path: str | os.PathLike[str], context: Context | None = None, root: str | None = None
) -> Recipe:
    """Load one recipe.

    Args:
        path: the YAML file; paths inside it are relative to its folder.
        context: environment, git and time; default: from this process.
        root: the folder below which the paths of the model become relative; default: the current
            folder.

    Raises:
        RecipeError: the file cannot be read or is not a valid recipe; has every problem.
    """
    file = os.fspath(path)
    base = PathBase(os.path.dirname(os.path.abspath(file)), os.path.abspath(root or os.curdir))
    shown = base.relative(os.path.basename(file))
    if not os.path.lexists(file):
        raise _unusable(Place(shown), "no such file", hint=_near(file) or _INIT)
    if file.endswith(".zip"):
        hint = "this is an image; did you mean `otabuild verify`?"
        raise _unusable(Place(shown), "not a recipe", hint=hint)
    try:
        raw = read_file(file, limits.RECIPE)
    except StorageError as error:
        hint = (
            "name a recipe in it; `doit build` builds every recipe of a folder"
            if os.path.isdir(file)
            else error.hint
        )
        raise _unusable(Place(shown), error.what, error.observed, error.expected, hint) from None
    stem = os.path.splitext(os.path.basename(file))[0]
    return parse_recipe(raw, stem, context or Context.from_process(base.folder), base, shown)


def _unusable(
    place: Place, what: str, observed: object = None, expected: object = None, hint: str = ""
) -> RecipeError:
    """Return the error of a recipe with a single problem."""
    return RecipeError([Finding(place, what, observed, expected, hint)])


def _near(file: str) -> str:
    """Return a hint with the recipe whose name is most similar to that of a missing file."""
    folder, name = os.path.split(file)
    for place in (folder, os.path.join(folder, "recipes")):
        with suppress(OSError):
            recipes = {
                os.path.splitext(other)[0]: other for other in recipes_in(place or os.curdir)
            }
            if near := nearest(os.path.splitext(name)[0], recipes):
                return f"did you mean `{os.path.join(place, recipes[near])}`?"
    return ""


def recipes_in(folder: str) -> list[str]:
    """Return the names of the recipes in a folder.

    Raises:
        OSError: it cannot be listed.
    """
    return sorted(
        name for name in os.listdir(folder) if name.endswith((".yaml", ".yml")) and name[0] != "."
    )


def load_recipes(
    folder: str | os.PathLike[str], context: Context | None = None, root: str | None = None
) -> tuple[dict[str, Recipe], dict[str, RecipeError]]:
    """Load every `*.yaml` and `*.yml` file of a folder.

    Returns:
        The valid recipes by name, and the errors of the others by file stem. Recipes with the same
        name, or with the same output, are all invalid.

    Raises:
        RecipeError: the folder cannot be read.
    """
    where = os.fspath(folder)
    try:
        names = recipes_in(where)
    except FileNotFoundError:
        hint = f"{_INIT}; [tool.otabuild] recipes of pyproject.toml names another folder"
        raise _unusable(Place(where), "there is no folder of recipes", hint=hint) from None
    except OSError as error:
        what = "cannot read the folder of recipes"
        raise _unusable(Place(where, 1, 1), what, error.strerror) from None
    context = context or Context.from_process(where)
    loaded: dict[str, list[tuple[str, Recipe]]] = {}
    errors: dict[str, RecipeError] = {}
    for name in names:
        try:
            recipe = load_recipe(os.path.join(where, name), context, root)
        except RecipeError as error:
            errors[_key(name, names)] = error
        else:
            loaded.setdefault(recipe.name, []).append((name, recipe))
    # Recipes of one name would share a folder of the work directory, and recipes of one output
    # would overwrite each other's: which of them is meant cannot be known, so none of them is
    # built, and all the others are.
    single = {}
    for name, found in loaded.items():
        if len(found) == 1:
            single[name] = found[0]
            continue
        files = [file for file, _ in found]
        for file in files:
            errors[_key(file, names)] = _same_name(os.path.join(where, file), name, files)
    shared = _same_outputs([recipe for _, recipe in single.values()])
    errors |= {
        _key(file, names): shared[recipe.name]
        for file, recipe in single.values()
        if recipe.name in shared
    }
    return {name: recipe for name, (_, recipe) in single.items() if name not in shared}, errors


def _key(name: str, names: list[str]) -> str:
    """Return the stem of a file, or its whole name if another file has the same stem."""
    stems = [os.path.splitext(other)[0] for other in names]
    stem = os.path.splitext(name)[0]
    return stem if stems.count(stem) == 1 else name


def _same_name(file: str, name: str, files: list[str]) -> RecipeError:
    others = ", ".join(other for other in files if other != os.path.basename(file))
    what = f"the name {name!r} is also used by {others}"
    return _unusable(Place(file, 1, 1, "name"), what, hint="give each recipe a `name` of its own")


def _same_outputs(recipes: Sequence[Recipe]) -> dict[str, RecipeError]:
    """Return the errors of recipes that write to the same place, by their names."""
    writers: dict[str, list[tuple[str, Recipe]]] = {}
    for recipe in recipes:
        for key, path in (("output", recipe.output), ("output-dir", recipe.output_dir)):
            if path:
                writers.setdefault(path, []).append((key, recipe))
    shared: dict[str, list[Finding]] = {}
    for path, found in writers.items():
        for key, recipe in found:
            others = ", ".join(other.file for _, other in found if other is not recipe)
            # It is alone, or both are outputs of one recipe, which `places.clashes` tells.
            if not others:
                continue
            what = f"{others} writes to the same place"
            problem = problem_at(
                recipe, [key], what, path, hint="give each recipe an output of its own"
            )
            shared.setdefault(recipe.name, []).append(problem)
    return {name: RecipeError(problems) for name, problems in shared.items()}


def parse_recipe(raw: bytes, stem: str, context: Context, base: PathBase, file: str) -> Recipe:
    """Parse a recipe from bytes.

    Args:
        raw: the YAML text, UTF-8.
        stem: the default name of the recipe.
        context: environment, git and time.
        base: the folder that its paths are relative to.
        file: the name of the file, for messages.

    Raises:
        RecipeError: not a valid recipe; has every problem.
    """
    if len(raw) > limits.RECIPE:
        expected = f"at most {limits.RECIPE} bytes"
        raise _unusable(Place(file, 1, 1), "the file is too large", expected=expected)
    try:
        tree, remarks = parse_yaml(raw, file)
    except YamlError as error:
        place = Place(file, error.line, error.column)
        raise _unusable(place, error.what, hint=error.hint) from None
    if tree.kind != "mapping":
        hint = "`otabuild init` writes one to start from"
        raise _unusable(Place(file, 1, 1), "contains no recipe", hint=hint)
    found = [replace(remark, hint="remove it") for remark in remarks]
    found += findings_of(RecipeSubject(tree, file))
    loader = _Loader(context, file)
    values = loader.values(tree, stem)
    found += loader.problems
    try:
        recipe = Recipe.of_tree({**values, "\0file": file}, tree, base)
    except ValidationError as error:
        known = {problem.place for problem in found}
        found += [
            problem
            for problem in problems(error.errors(), tree, file)
            if problem.place not in known
        ]
        raise RecipeError(found) from None
    found += clashes(recipe, base.root)
    if found:
        raise RecipeError(found)
    return recipe


class _Loader:
    """Makes the plain values of a tree and replaces its references."""

    def __init__(self, context: Context, file: str) -> None:
        self.context = context
        self.file = file
        self.problems: list[Finding] = []
        self.date: str | None = None

    def values(self, tree: YamlNode, stem: str) -> dict[str, Any]:
        time = self._time(tree.get("timestamp") or YamlNode("string", 1, 1, text="commit"))
        self.date = utc_date(time)
        values = {
            key.text: self._value(node, [key.text])
            for key, node in tree.pairs
            if key.text != "timestamp"
        }
        # Whoever publishes need not write an artifact.
        no_output = {"output": None} if "publish" in values else {}
        return {"name": stem, **no_output, **values, "timestamp": time}

    # Without a valid time it is now: the rest of the recipe is looked at all the same.
    def _time(self, node: YamlNode) -> int:
        if node.kind not in ("string", "date"):
            expected = "commit, now, or an ISO 8601 time"
            refused = RefusedError("must be text", observed=node.text, expected=expected)
            self._problem(node, ["timestamp"], refused)
            return self.context.now
        try:
            return build_time(substitute(node.text, self.context, None), self.context)
        except (RefusedError, InputError) as error:
            self._problem(node, ["timestamp"], error)
            return self.context.now

    def _value(self, node: YamlNode, keys: list[str | int]) -> Any:
        if node.kind == "mapping":
            return {key.text: self._value(value, [*keys, key.text]) for key, value in node.pairs}
        if node.kind == "list":
            return [self._value(item, [*keys, number]) for number, item in enumerate(node.items)]
        if node.kind not in ("string", "date"):
            return node.value
        try:
            return substitute(node.text, self.context, self.date)
        except (RefusedError, InputError) as error:
            self._problem(node, keys, error)
            return node.text

    def _problem(
        self, node: YamlNode, keys: list[str | int], error: RefusedError | InputError
    ) -> None:
        facts = error.what, error.observed, error.expected, error.hint
        self.problems.append(
            Finding(Place(self.file, node.line, node.column, key_path(keys)), *facts)
        )
