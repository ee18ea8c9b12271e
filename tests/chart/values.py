"""The values of the chart, as values.yaml describes them: one place for the table in the README and the check of the schema."""
import json
import re

import yaml


class Value:
    """One described value: its path, default and description."""

    def __init__(self, path, default, description):
        self.path, self.default, self.description = path, default, description

    @property
    def key(self):
        return ".".join(self.path)

    @property
    def type(self):
        kinds = {bool: "bool", int: "int", float: "float", str: "string", list: "list", dict: "object"}
        return kinds[type(self.default)]


def at(values, path):
    for part in path:
        values = values[part]
    return values


def described(text):
    """Every value that has a description, in the order of the file. A value below a described one is a part of it."""
    values = yaml.safe_load(text)
    found, path, pending = [], [], None
    for line in text.splitlines():
        comment = re.match(r"\s*# -- (.*)$", line)
        if comment:
            pending = comment.group(1)
            continue
        key = re.match(r"( *)([A-Za-z][A-Za-z0-9_]*):(?: |$)", line)
        if not key:
            continue
        depth = len(key.group(1)) // 2
        path = path[:depth] + [key.group(2)]
        if pending is not None:
            found.append(Value(tuple(path), at(values, path), pending))
            pending = None
    return found


def leaves(values, ends, path=()):
    """Paths of all values; what is described (`ends`) is not looked into."""
    for key, value in values.items():
        here = path + (key,)
        if here in ends or not isinstance(value, dict) or not value:
            yield here
        else:
            yield from leaves(value, ends, here)


def table(text):
    """The table of the README, as helm-docs writes it."""
    rows = ["| Key | Type | Default | Description |", "|-----|------|---------|-------------|"]
    for value in described(text):
        default = json.dumps(value.default, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
        rows.append(f"| {value.key} | {value.type} | `{default}` | {value.description.replace('|', '&#124;')} |")
    return "\n".join(rows)
