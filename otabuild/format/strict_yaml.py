"""YAML as a bounded tree in which every value knows its line, for recipes and sys_config.

The tree is built from parser events. This bounds its depth and size before anything is expanded. An
alias shares the node of its anchor; merge keys (`<<`) are resolved. What a strict writer would not
write (a tag, a duplicate key) produces a finding, and the caller decides whether that is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

import yaml

from otabuild.errors import Finding, FormatError, Place
from otabuild.format import limits

Kind = Literal["string", "integer", "number", "boolean", "null", "date", "list", "mapping"]

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_KINDS: dict[str, Kind] = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "null": "null",
    "timestamp": "date",
}


KINDS: dict[Kind, str] = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "nothing",
    "date": "a date",
    "list": "a list",
    "mapping": "a mapping",
}
"""The kinds of YAML values, in words."""


class YamlError(FormatError):
    """YAML that cannot be read; `line` and `column` count from 1."""

    def __init__(
        self,
        what: str,
        *,
        where: str,
        line: int,
        column: int,
        observed: object = None,
        hint: str = "",
    ) -> None:
        super().__init__(what, where=f"{where}:{line}:{column}", observed=observed, hint=hint)
        self.line, self.column = line, column


_NO_ENTRIES: Mapping[str, tuple[YamlNode, YamlNode]] = {}


@dataclass(frozen=True, slots=True, eq=False)
class YamlNode:
    """One value, its position (counted from 1), and its size when every alias is written out.

    `text` is a scalar as written, `value` is its meaning. A list has `items`. A mapping has `pairs`
    of key and value, in the order of the file.
    """

    kind: Kind
    line: int
    column: int
    text: str = ""
    value: str | int | float | bool | date | None = None
    items: tuple[YamlNode, ...] = ()
    pairs: tuple[tuple[YamlNode, YamlNode], ...] = ()
    nodes: int = 1
    depth: int = 1
    _entries: Mapping[str, tuple[YamlNode, YamlNode]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Index the pairs by key: a mapping may be large, and each message looks for its place."""
        entries = (
            {pair[0].text: pair for pair in reversed(self.pairs)} if self.pairs else _NO_ENTRIES
        )
        object.__setattr__(self, "_entries", entries)

    def get(self, key: str | int) -> YamlNode | None:
        """Return the value at a key (as written) of a mapping or an index of a list, or None."""
        if self.kind == "list":
            return self.items[key] if isinstance(key, int) and 0 <= key < len(self.items) else None
        entry = self._entries.get(key) if isinstance(key, str) else None
        return entry and entry[1]

    def follow(self, path: Iterable[str | int]) -> tuple[YamlNode, list[str | int], YamlNode]:
        """Follow a path of keys as far as the tree goes, skipping keys that the tree does not have.

        Returns:
            The node, the keys that lead to it, and the node of the last of these keys (or the entry
            of a list).
        """
        node = name = self
        trail: list[str | int] = []
        for part in path:
            below = node.get(part)
            if below is not None:
                name = below if node.kind == "list" else node._entries[str(part)][0]
                node = below
                trail.append(part)
        return node, trail, name

    def plain(self) -> Any:
        """Return the tree as plain Python values."""
        if self.kind == "list":
            return [item.plain() for item in self.items]
        if self.kind == "mapping":
            return {key.value: value.plain() for key, value in self.pairs}
        return self.value


def parse_yaml(raw: bytes, where: str) -> tuple[YamlNode, tuple[Finding, ...]]:
    """Read one YAML document in UTF-8; `where` is the name of its file, for messages.

    Returns:
        The root (of kind null for an empty file), and remarks on tags and duplicate keys in line
        order.

    Raises:
        YamlError: not YAML, more than one document, nested more than 32 deep, or more than 250,000
            values when the aliases are written out.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise YamlError("not UTF-8 text", where=where, line=line, column=1) from None
    if found := yaml.reader.Reader.NON_PRINTABLE.search(text):
        before = text[: found.start()]
        line, column = before.count("\n") + 1, found.start() - before.rfind("\n")
        raise YamlError(
            f"YAML does not allow the character {found[0]!r}", where=where, line=line, column=column
        )
    composer = _Composer(text, where)
    return composer.document(), tuple(sorted(composer.remarks, key=lambda remark: remark.place))


def check_constructible(raw: bytes, where: str) -> None:
    """Check that clients' safe loader can make values of a document that `parse_yaml` has read.

    Raises:
        YamlError: it has a tag that means nothing to such a loader, or that does not fit its value.
    """
    try:
        yaml.load(raw, _LOADER)  # noqa: S506 -- the safe loader; `parse_yaml` has bounded what it makes
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        what = f"clients cannot read this: {error.problem or 'no value can be made of it'}"
        raise YamlError(
            what, where=where, line=line, column=column, hint="remove the tag, or quote the text"
        ) from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # A constructor of the loader takes for granted that a text fits its tag, and says neither
        # where nor why.
        what = "clients cannot read this: a text does not fit its tag"
        hint = "remove the tags, or quote the text"
        raise YamlError(what, where=where, line=1, column=1, observed=error, hint=hint) from None


class _Composer:
    """Turns the parser events of one document into nodes."""

    def __init__(self, text: str, where: str) -> None:
        self.where = where
        self.remarks: list[Finding] = []
        self.anchors: dict[str, YamlNode | None] = {}
        self.lines = text.splitlines()
        self.text = text

    def document(self) -> YamlNode:
        try:
            self.loader = _LOADER(self.text)
            self.events = self._events()
            return self._whole()
        except yaml.YAMLError as error:
            raise self._syntax_error(error) from None

    def _events(self) -> Iterator[Any]:
        try:
            while self.loader.check_event():
                yield self.loader.get_event()
        finally:
            self.loader.dispose()

    def _whole(self) -> YamlNode:
        root: YamlNode | None = None
        for event in self.events:
            if isinstance(
                event, (yaml.StreamStartEvent, yaml.StreamEndEvent, yaml.DocumentEndEvent)
            ):
                continue
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    raise self._error("more than one document in the file", event)
                continue
            root = self._node(event, 1)
        return root or YamlNode("null", 1, 1)

    def _node(self, event: Any, level: int) -> YamlNode:
        if level > limits.JSON_DEPTH:
            raise self._error(f"nested more than {limits.JSON_DEPTH} deep", event)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        if event.anchor:
            # Known, but not made yet: so an alias inside its own anchor is found.
            self.anchors[event.anchor] = None
        if event.tag:
            self._remark(event, f"the tag {event.tag.replace(_TAG, '!!')} has no meaning here")
        if isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._list(event, level)
        else:
            node = self._mapping(event, level)
        self._bounded(node.nodes, event)
        if node.depth + level - 1 > limits.JSON_DEPTH:
            raise self._error(
                f"nested more than {limits.JSON_DEPTH} deep when all aliases are written out", event
            )
        if event.anchor:
            self.anchors[event.anchor] = node
        return node

    def _alias(self, event: Any) -> YamlNode:
        if event.anchor not in self.anchors:
            raise self._error(
                f"the alias *{event.anchor} has no anchor &{event.anchor} above it", event
            )
        node = self.anchors[event.anchor]
        if node is None:
            raise self._error(f"the alias *{event.anchor} is inside its own anchor", event)
        return node

    def _scalar(self, event: Any) -> YamlNode:
        line, column = _place(event)
        tag = event.tag or self.loader.resolve(yaml.ScalarNode, event.value, event.implicit)
        kind = _KINDS.get(tag.removeprefix(_TAG), "string")
        # 1:1:1:… takes quadratic time to read.
        if kind != "string" and len(event.value) > limits.YAML_SCALAR:
            what = f"{KINDS[kind]} of more than {limits.YAML_SCALAR} characters"
            raise self._error(what, event, hint="put it in quotes if it is text")
        try:
            value = event.value if kind == "string" else _value(tag, event.value)
        # What PyYAML raises for `!!int foo`, by tag.
        except (ValueError, OverflowError, AttributeError, LookupError):
            what = f"YAML reads {event.value[:80]!r} as {KINDS[kind]}, but it is not valid"
            raise self._error(what, event, hint="put it in quotes if it is text") from None
        return YamlNode(kind, line, column, text=event.value, value=value)

    def _list(self, event: Any, level: int) -> YamlNode:
        items: list[YamlNode] = []
        size = 1
        while not isinstance(part := next(self.events), yaml.SequenceEndEvent):
            items.append(self._node(part, level + 1))
            size = self._bounded(size + items[-1].nodes, part)
        depth = 1 + max((item.depth for item in items), default=0)
        return YamlNode("list", *_place(event), items=tuple(items), nodes=size, depth=depth)

    def _mapping(self, event: Any, level: int) -> YamlNode:
        own: dict[Any, tuple[YamlNode, YamlNode]] = {}
        merged: list[tuple[YamlNode, YamlNode]] = []
        size, deepest = 1, 0
        while not isinstance(part := next(self.events), yaml.MappingEndEvent):
            key = self._node(part, level + 1)
            if key.kind in ("list", "mapping"):
                raise self._error(
                    "a key must be one word or text",
                    part,
                    hint="quote a key that begins with { or [",
                )
            value = self._node(next(self.events), level + 1)
            size = self._bounded(size + value.nodes, part)
            deepest = max(deepest, value.depth)
            if key.text == "<<" and isinstance(part, yaml.ScalarEvent) and part.implicit[0]:
                merged += self._merge(value, part)
                continue
            # As values, not as texts: a loader makes one key of 16 and 0x10.
            if key.value in own:
                first = own[key.value][0].line
                self._remark(
                    part,
                    f"the key {key.text!r} occurs twice in this mapping, first in line {first}",
                )
            own[key.value] = (key, value)
        # As a loader does: own keys win over merged ones, and of these the first.
        for key, value in merged:
            own.setdefault(key.value, (key, value))
        pairs = tuple(own.values())
        return YamlNode(
            "mapping", *_place(event), pairs=pairs, nodes=size + len(pairs), depth=deepest + 1
        )

    def _merge(self, value: YamlNode, event: Any) -> list[tuple[YamlNode, YamlNode]]:
        sources = value.items if value.kind == "list" else (value,)
        if any(source.kind != "mapping" for source in sources):
            raise self._error("<< takes a mapping, or a list of mappings", event)
        return [pair for source in sources for pair in source.pairs]

    def _bounded(self, size: int, event: Any) -> int:
        if size > limits.YAML_NODES:
            raise self._error(
                f"more than {limits.YAML_NODES} values when all aliases are written out", event
            )
        return size

    def _remark(self, event: Any, text: str) -> None:
        self.remarks.append(Finding(Place(self.where, *_place(event)), text))

    def _error(self, what: str, event: Any, hint: str = "") -> YamlError:
        line, column = _place(event)
        return YamlError(what, where=self.where, line=line, column=column, hint=hint)

    def _syntax_error(self, error: yaml.YAMLError) -> YamlError:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        what = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be read"
        return YamlError(
            f"not YAML: {what}", where=self.where, line=line, column=column, hint=self._advice(line)
        )

    def _advice(self, line: int) -> str:
        text = self.lines[line - 1] if line <= len(self.lines) else ""
        if "\t" in text[: len(text) - len(text.lstrip())]:
            return "indent with spaces; YAML does not take tabs"
        if "${" in text:
            return "put quotes around a value with ${…} that is inside { } or [ ]"
        return (
            "check the indentation, the quotes and the space after each colon, here "
            "and in the line before"
        )


def _place(event: Any) -> tuple[int, int]:
    return event.start_mark.line + 1, event.start_mark.column + 1


def _value(tag: str, text: str) -> int | float | bool | date | None:
    constructor = yaml.constructor.SafeConstructor()
    node = yaml.ScalarNode(tag, text)
    made: int | float | bool | date | None = constructor.construct_object(node)
    return made
