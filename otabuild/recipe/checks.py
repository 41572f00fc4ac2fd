"""Checks that need more than one key: names that must fit together, and annotations.

The checks read the tree, not the models. Therefore they also work for a recipe with other errors.
"""

from __future__ import annotations

from collections.abc import Iterator

from otabuild.errors import Problem
from otabuild.format import annotations as ann
from otabuild.format.strict_yaml import KINDS, YamlNode
from otabuild.recipe.suggest import did_you_mean

_VENDORS = ("vnd.tier4.", "vnd.nvidia.")
_EMPTY = "has no value"
_USELESS = "is not used with this key"
_SETTABLE = frozenset(ann.INDEX_SHORT_KEYS.values())


def check(tree: YamlNode, file: str) -> list[Problem]:
    """Return every problem between keys: payloads, rootfs names, annotations, set rules."""
    found = [
        *_keys(tree),
        *_payloads(tree),
        *_unused(tree),
        *_annotations(tree),
        *_set_rules(tree),
        *_passphrase(tree),
        *_legacy(tree),
        *_stdin(tree),
    ]
    return [
        Problem(
            file,
            node.line,
            node.column,
            key,
            what,
            observed=None if what in (_EMPTY, _USELESS) else node.text or None,
            expected=expected,
            hint=hint,
        )
        for node, key, what, expected, hint in found
    ]


_Facts = tuple[YamlNode, str, str, str | None, str]
"""A problem: the node where it is, the path of its key, what is wrong, what was expected, and a hint."""


def _mapping(node: YamlNode | None, key: str) -> tuple[tuple[YamlNode, YamlNode], ...]:
    below = node.get(key) if node else None
    return below.pairs if below else ()


def _items(node: YamlNode | None, key: str) -> tuple[YamlNode, ...]:
    below = node.get(key) if node else None
    return below.items if below else ()


def _keys(node: YamlNode, path: str = "") -> Iterator[_Facts]:
    for number, item in enumerate(node.items):
        if item.kind == "null":
            yield item, f"{path}[{number}]", _EMPTY, None, "write a value after the dash, or remove the entry"
        yield from _keys(item, f"{path}[{number}]")
    for key, value in node.pairs:
        below = f"{path}.{key.text}" if path else key.text
        if key.kind not in ("string", "date"):
            yield key, below, f"a key must be a string, and YAML reads this as {KINDS[key.kind]}", f'"{key.text}"', ""
        if value.kind == "null":
            yield key, below, _EMPTY, None, "write a value after the colon, or remove the key"
        yield from _keys(value, below)


def _payloads(tree: YamlNode) -> Iterator[_Facts]:
    names = [name.text for name, _ in _mapping(tree, "rootfs")]
    seen: dict[tuple[str, str], int] = {}
    for number, payload in enumerate(_items(tree, "payloads")):
        path = f"payloads[{number}]"
        rootfs, ecu = payload.get("rootfs"), payload.get("ecu")
        if names and rootfs and rootfs.kind == "string" and rootfs.text not in names:
            hint = did_you_mean(rootfs.text, names)
            yield rootfs, f"{path}.rootfs", "the recipe has no rootfs of this name", ", ".join(names), hint
        if ecu is None or ecu.kind != "string":
            continue
        keys = [item.text for item in _items(payload, "release-keys")] or ["dev"]
        for pair in dict.fromkeys((ecu.text, key) for key in keys):
            if pair in seen:
                what = f"payloads[{seen[pair]}] already has this ECU under the release key {pair[1]}"
                yield ecu, f"{path}.ecu", what, None, "give the payload a different ecu, or different release-keys"
            seen.setdefault(pair, number)


def _unused(tree: YamlNode) -> Iterator[_Facts]:
    """Find a rootfs that no payload names. Silent if a payload names an undefined rootfs, because that is the cause."""
    names = [name for name, _ in _mapping(tree, "rootfs")]
    used = {node.text if (node := payload.get("rootfs")) else "" for payload in _items(tree, "payloads")}
    if used and used <= {name.text for name in names}:
        for name in names:
            if name.text not in used:
                what, hint = "no payload uses this rootfs", "name it in a payload, or remove it"
                yield name, f"rootfs.{name.text}", what, None, hint


def _annotations(tree: YamlNode) -> Iterator[_Facts]:
    short = {_short(path) for path in _leaves(tree.get("annotations"))}
    for name, _ in _mapping(tree, "annotations"):
        key, path = name.text, f'annotations."{name.text}"'
        if "." not in key:
            if key not in ("platform", "project", "web-auto"):
                known = ["platform", "project", "web-auto"]
                hint = did_you_mean(key, known) or "your own keys need a dot, such as com.example.team"
                yield name, f"annotations.{key}", "unknown annotation", "platform, project, web-auto", hint
        elif key in ann.INDEX_SHORT_KEYS:
            nested = "".join(f"{{{part}: " for part in key.split(".")[1:])
            hint = f"write {key.split('.')[0]}: {nested}…{'}' * nested.count('{')}"
            yield name, path, "a short key is written nested", None, hint
        elif key in _SETTABLE and key in short:
            yield name, path, "is also set by its short key", None, "remove one of the two"
        elif key.startswith(_VENDORS) and key not in _SETTABLE:
            yield name, path, *_foreign(key)


def _foreign(key: str) -> tuple[str, str | None, str]:
    if key in ann.INDEX_COUNTS or key == ann.BUILDER_VERSION:
        return "is set by the builder", None, "remove it"
    if key in ann.KNOWN:
        return "is not an annotation of the index", None, "it follows from the rootfs and payloads of the recipe"
    near = did_you_mean(key, _SETTABLE, cutoff=0.85)  # high, because all these keys begin alike
    return "unknown annotation of a reserved prefix", None, near


def _leaves(node: YamlNode | None, prefix: str = "") -> Iterator[str]:
    for key, value in node.pairs if node else ():
        yield f"{prefix}{key.text}"
        yield from _leaves(value, f"{prefix}{key.text}.")


def _short(path: str) -> str:
    return ann.INDEX_SHORT_KEYS.get(path, "")


def _set_rules(tree: YamlNode) -> Iterator[_Facts]:
    for name, rootfs in _mapping(tree, "rootfs"):
        for number, rule in enumerate(_items(rootfs, "set")):
            if rule.kind == "mapping" and not any(rule.get(key) for key in ("capability", "mode", "owner")):
                path = f"rootfs.{name.text}.set[{number}]"
                yield rule, path, "sets nothing", "at least one of capability, mode, owner", ""


def _passphrase(tree: YamlNode) -> Iterator[_Facts]:
    sign = tree.get("sign")
    passphrase, key = (sign.get("passphrase"), sign.get("key")) if sign else (None, None)
    if passphrase and key and (key.text == "external" or key.get("command")):
        yield passphrase, "sign.passphrase", _USELESS, None, "remove it"


def _legacy(tree: YamlNode) -> Iterator[_Facts]:
    package = tree.get("otaclient-package")
    legacy = package.get("legacy") if package else None
    if legacy and legacy.text == "true" and not tree.get("sign"):
        what = "needs a signature, but the recipe has none"
        yield legacy, "otaclient-package.legacy", what, None, "add a `sign` section, or leave legacy out"


def _stdin(tree: YamlNode) -> Iterator[_Facts]:
    first = ""
    for name, rootfs in _mapping(tree, "rootfs"):
        source = rootfs.get("source")
        for number, part in enumerate((source.items or (source,)) if source else ()):
            tar = part.get("tar")
            path = f"rootfs.{name.text}.source" + (f"[{number}]" if source and source.items else "")
            if tar is None or tar.text != "-":
                continue
            if first:
                yield tar, f"{path}.tar", f"standard input is read once, and {first} reads it", None, "name a file"
            first = first or path
