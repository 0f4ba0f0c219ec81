"""YAML as experiments and clusters are written in it: a number like 1e-5, no key twice, nothing without a bound."""

import re
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError
from yaml.nodes import CollectionNode, MappingNode, Node

from pipeline.errors import UserError

MAX_BYTES = 2**20
MAX_DEPTH = 30
MAX_BITS = 256
MAX_NODES = 100_000
"""Scalars and collections of one file, every alias counted as all that it stands for."""


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a file, empty where the file is; raises UserError where it is none."""
    try:
        size = path.stat().st_size
        content = parse_yaml(path.read_text()) if size <= MAX_BYTES else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from None
    if size > MAX_BYTES:
        raise UserError(f"{path}: cannot be read as YAML: it has {size:,} bytes, and {MAX_BYTES:,} are allowed")
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"{path}: should be a mapping of keys, not a {type(content).__name__}")
    return content


def parse_yaml(text: str) -> Any:
    """The value that `text` stands for; raises yaml.YAMLError."""
    return yaml.load(text, _Loader)


class _Loader(yaml.SafeLoader):
    """YAML 1.2's floats (1e-5 is a number); refuses what PyYAML takes silently or answers with other exceptions."""

    _depth = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ComposerError(None, None, f"nested more than {MAX_DEPTH} levels deep", self.peek_event().start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def compose_mapping_node(self, anchor: str | None) -> MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key.value, str) and key.value in seen:
                raise ComposerError(None, None, f"the key {key.value} is there twice", key.start_mark)
            seen.add(key.value if isinstance(key.value, str) else id(key))
        return node

    def get_single_node(self) -> Node | None:
        node = super().get_single_node()
        if node is not None:
            _size(node, {})
        return node

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep)
            if isinstance(value, int) and value.bit_length() > MAX_BITS:
                raise ValueError
            return value
        except yaml.YAMLError:
            raise
        except Exception:  # what int(), float(), datetime() and look-ups make of a scalar that is none of theirs
            kind = node.tag.rpartition(":")[2]
            raise ConstructorError(None, None, f"{node.value!r} is no valid {kind}", node.start_mark) from None


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)


def _size(node: Node, known: dict[int, int]) -> int:
    """Nodes under `node` with every alias followed; raises ComposerError for too many, or an alias inside itself."""
    if id(node) not in known:
        known[id(node)] = MAX_NODES  # until it is known: who meets it meanwhile is inside it
        size = 1
        if isinstance(node, CollectionNode):
            for child in node.value:
                size += sum(_size(part, known) for part in (child if isinstance(child, tuple) else (child,)))
        if size > MAX_NODES:
            raise ComposerError(None, None, f"its aliases stand for more than {MAX_NODES:,} values", node.start_mark)
        known[id(node)] = size
    return known[id(node)]
