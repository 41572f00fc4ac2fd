"""Checks that need more than one key: names that must fit together, and annotations.

The checks read the tree, not the models. Therefore they also work for a recipe with other errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from itertools import islice

from otabuild.errors import Finding, Place, RecipeError
from otabuild.findings import rule
from otabuild.format import annotations as ann
from otabuild.format import limits
from otabuild.format.strict_yaml import KINDS, YamlNode
from otabuild.recipe.suggest import did_you_mean

_VENDORS = ("vnd.tier4.", "vnd.nvidia.")
_SHOWN = 100
"""Names that a message lists; a recipe may have thousands of them, and as many messages."""
_EMPTY = "has no value"
_USELESS = "is not used with this key"
_SETTABLE = frozenset(ann.INDEX_SHORT_KEYS.values())


@dataclass(frozen=True, slots=True)
class RecipeSubject:
    """The YAML of a recipe, and the name of its file."""

    tree: YamlNode
    file: str

    def found(
        self, node: YamlNode, key: str, what: str, expected: str | None = None, hint: str = ""
    ) -> Finding:
        """Return what is wrong at a node; its text is what was observed, if it tells anything."""
        observed = None if what in (_EMPTY, _USELESS) else node.text or None
        return Finding(
            Place(self.file, node.line, node.column, key), what, observed, expected, hint
        )


_recipe_rule = partial(rule, area="recipe", error=RecipeError)


def _mapping(node: YamlNode | None, key: str) -> tuple[tuple[YamlNode, YamlNode], ...]:
    below = node.get(key) if node else None
    return below.pairs if below else ()


def _items(node: YamlNode | None, key: str) -> tuple[YamlNode, ...]:
    below = node.get(key) if node else None
    return below.items if below else ()


@_recipe_rule("recipe.keys", RecipeSubject)
def check_keys(subject: RecipeSubject) -> Iterator[Finding]:
    """Every key is a string, and has a value."""
    return _keys(subject, subject.tree)


def _keys(subject: RecipeSubject, node: YamlNode, path: str = "") -> Iterator[Finding]:
    for number, item in enumerate(node.items):
        if item.kind == "null":
            yield subject.found(
                item,
                f"{path}[{number}]",
                _EMPTY,
                None,
                "write a value after the dash, or remove the entry",
            )
        yield from _keys(subject, item, f"{path}[{number}]")
    for key, value in node.pairs:
        below = f"{path}.{key.text}" if path else key.text
        if key.kind not in ("string", "date"):
            yield subject.found(
                key,
                below,
                f"a key must be a string, and YAML reads this as {KINDS[key.kind]}",
                f'"{key.text}"',
                "",
            )
        if value.kind == "null":
            yield subject.found(
                key, below, _EMPTY, None, "write a value after the colon, or remove the key"
            )
        yield from _keys(subject, value, below)


@_recipe_rule("recipe.payloads", RecipeSubject)
def check_payloads(subject: RecipeSubject) -> Iterator[Finding]:
    """A payload names a rootfs of the recipe, and no other has its ECU under the same release
    key.
    """
    names = dict.fromkeys(name.text for name, _ in _mapping(subject.tree, "rootfs"))
    known = ", ".join([*islice(names, _SHOWN), *(["…"] if len(names) > _SHOWN else [])])
    suggest = cache(partial(did_you_mean, known=names))
    seen: dict[tuple[str, str], int] = {}
    for number, payload in enumerate(_items(subject.tree, "payloads")):
        path = f"payloads[{number}]"
        rootfs, ecu = payload.get("rootfs"), payload.get("ecu")
        if names and rootfs and rootfs.kind == "string" and rootfs.text not in names:
            hint = suggest(rootfs.text)
            yield subject.found(
                rootfs, f"{path}.rootfs", "the recipe has no rootfs of this name", known, hint
            )
        if ecu is None or ecu.kind != "string":
            continue  # the model says so
        keys = [item.text for item in _items(payload, "release-keys")] or ["dev"]
        for key in dict.fromkeys(keys):
            first = seen.setdefault((ecu.text, key), number)
            if first != number:
                what = f"payloads[{first}] already has this ECU under the release key {key}"
                hint = "give the payload a different ecu, or different release-keys"
                yield subject.found(ecu, f"{path}.ecu", what, None, hint)


@_recipe_rule("recipe.entries", RecipeSubject)
def check_entries(subject: RecipeSubject) -> Iterator[Finding]:
    """Payloads under each of their release keys, and the otaclient package, are at most 4096."""
    payloads = _items(subject.tree, "payloads")
    entries = sum(len(_items(payload, "release-keys")) or 1 for payload in payloads)
    entries += subject.tree.get("otaclient-package") is not None
    if entries > limits.ENTRIES:
        what, hint = f"the index would have {entries} entries", "make several images"
        yield subject.found(payloads[0], "payloads", what, f"at most {limits.ENTRIES}", hint)


@_recipe_rule("recipe.unused", RecipeSubject)
def check_unused(subject: RecipeSubject) -> Iterator[Finding]:
    """A payload uses every rootfs; only said if every payload names one of the recipe, because that
    would be the cause.
    """
    names = [name for name, _ in _mapping(subject.tree, "rootfs")]
    wanted = [payload.get("rootfs") for payload in _items(subject.tree, "payloads")]
    used = {"" if node is None else node.text for node in wanted}
    if used and used <= {name.text for name in names}:
        for name in names:
            if name.text not in used:
                what, hint = "no payload uses this rootfs", "name it in a payload, or remove it"
                yield subject.found(name, f"rootfs.{name.text}", what, None, hint)


@_recipe_rule("recipe.annotations", RecipeSubject)
def check_annotations(subject: RecipeSubject) -> Iterator[Finding]:
    """Annotations are known, set once, and not those of the builder."""
    paths = _leaves(subject.tree.get("annotations"))
    short = {ann.INDEX_SHORT_KEYS.get(path, "") for path in paths}
    known = ["platform", "project", "web-auto"]
    for name, _ in _mapping(subject.tree, "annotations"):
        key, path = name.text, f'annotations."{name.text}"'
        if key in known:
            continue  # its short keys are fields of the model, which has checked them
        if "." not in key:
            hint = did_you_mean(key, known) or "your own keys need a dot, such as com.example.team"
            yield subject.found(
                name, f"annotations.{key}", "unknown annotation", ", ".join(known), hint
            )
        elif key in ann.INDEX_SHORT_KEYS:
            nested = "".join(f"{{{part}: " for part in key.split(".")[1:])
            hint = f"write {key.split('.')[0]}: {nested}…{'}' * nested.count('{')}"
            yield subject.found(name, path, "a short key is written nested", None, hint)
        elif key in _SETTABLE and key in short:
            yield subject.found(
                name, path, "is also set by its short key", None, "remove one of the two"
            )
        elif key.startswith(_VENDORS) and key not in _SETTABLE:
            yield subject.found(name, path, *_foreign(key))


def _foreign(key: str) -> tuple[str, str | None, str]:
    if key in ann.INDEX_COUNTS or key == ann.BUILDER_VERSION:
        return "is set by the builder", None, "remove it"
    if key in ann.KNOWN:
        return (
            "is not an annotation of the index",
            None,
            "it follows from the rootfs and payloads of the recipe",
        )
    near = did_you_mean(key, _SETTABLE, cutoff=0.85)  # high, because all these keys begin alike
    return "unknown annotation of a reserved prefix", None, near


def _leaves(node: YamlNode | None, prefix: str = "") -> Iterator[str]:
    for key, value in node.pairs if node else ():
        yield f"{prefix}{key.text}"
        yield from _leaves(value, f"{prefix}{key.text}.")


@_recipe_rule("recipe.set-rules", RecipeSubject)
def check_set_rules(subject: RecipeSubject) -> Iterator[Finding]:
    """A `set` rule sets something."""
    for name, rootfs in _mapping(subject.tree, "rootfs"):
        for number, setting in enumerate(_items(rootfs, "set")):
            if setting.kind == "mapping" and not any(
                setting.get(key) for key in ("capability", "mode", "owner")
            ):
                path = f"rootfs.{name.text}.set[{number}]"
                yield subject.found(
                    setting, path, "sets nothing", "at least one of capability, mode, owner", ""
                )


@_recipe_rule("recipe.passphrase", RecipeSubject)
def check_passphrase(subject: RecipeSubject) -> Iterator[Finding]:
    """A passphrase has a key that it is for."""
    sign = subject.tree.get("sign")
    passphrase, key = (sign.get("passphrase"), sign.get("key")) if sign else (None, None)
    if passphrase and key and (key.text == "external" or key.get("command")):
        yield subject.found(passphrase, "sign.passphrase", _USELESS, None, "remove it")


@_recipe_rule("recipe.unsigned", RecipeSubject)
def check_unsigned(subject: RecipeSubject) -> Iterator[Finding]:
    """An image that the recipe signs is not verified as one without a signature."""
    verify = subject.tree.get("verify")
    unsigned = verify.get("unsigned") if verify else None
    if unsigned and unsigned.text == "true" and subject.tree.get("sign"):
        hint = "remove it, and name the CA certificates with trust"
        yield subject.found(
            unsigned, "verify.unsigned", "but the recipe signs the image", None, hint
        )


@_recipe_rule("recipe.legacy", RecipeSubject)
def check_legacy(subject: RecipeSubject) -> Iterator[Finding]:
    """Files for legacy clients are signed."""
    package = subject.tree.get("otaclient-package")
    legacy = package.get("legacy") if package else None
    if legacy and legacy.text == "true" and not subject.tree.get("sign"):
        what = "needs a signature, but the recipe has none"
        yield subject.found(
            legacy,
            "otaclient-package.legacy",
            what,
            None,
            "add a `sign` section, or leave legacy out",
        )


@_recipe_rule("recipe.provenance", RecipeSubject)
def check_provenance(subject: RecipeSubject) -> Iterator[Finding]:
    """What is said of how an image was made is signed."""
    provenance = subject.tree.get("provenance")
    if provenance and provenance.text == "true" and not subject.tree.get("sign"):
        what = "is signed as the image is, but the recipe has no signature"
        yield subject.found(
            provenance, "provenance", what, None, "add a `sign` section, or leave provenance out"
        )


@_recipe_rule("recipe.publish", RecipeSubject)
def check_publish(subject: RecipeSubject) -> Iterator[Finding]:
    """What is published is signed, unless the recipe says that it is meant to have no signature."""
    publish, verify = subject.tree.get("publish"), subject.tree.get("verify")
    unsigned = verify.get("unsigned") if verify else None
    if publish and not subject.tree.get("sign") and not (unsigned and unsigned.text == "true"):
        what = "vehicles would refuse a release that is not signed, and the recipe has no signature"
        hint = (
            "add a `sign` section, or `verify: {unsigned: true}` if the image is meant "
            "to have no signature"
        )
        yield subject.found(publish, "publish", what, None, hint)


@_recipe_rule("recipe.stdin", RecipeSubject)
def check_stdin(subject: RecipeSubject) -> Iterator[Finding]:
    """Standard input is read by one source only."""
    first = ""
    for name, rootfs in _mapping(subject.tree, "rootfs"):
        source = rootfs.get("source")
        for number, part in enumerate((source.items or (source,)) if source else ()):
            tar = part.get("tar")
            path = f"rootfs.{name.text}.source" + (f"[{number}]" if source and source.items else "")
            if tar is None or tar.text != "-":
                continue
            if first:
                yield subject.found(
                    tar,
                    f"{path}.tar",
                    f"standard input is read once, and {first} reads it",
                    None,
                    "name a file",
                )
            first = first or path
