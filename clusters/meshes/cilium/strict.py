"""Values held against a chart more strictly than helm does: every key must be one the chart knows.

Cilium's `values.schema.json` says what type a known key has and lets unknown ones pass, so helm takes a misspelt key
without a word and installs the default. Here a key has to stand in the schema, or, where the schema lists none,
in the chart's own values.yaml. What the chart leaves free (a peer's settings) is left to `agreement`, which sees what
became of it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

FREE = frozenset({("clustermesh", "config", "clusters")})
"""Where the chart takes any key; anywhere else, a place without known keys takes none of ours."""


def faults(values: Mapping[str, Any], schema: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    """What this chart would refuse or ignore in `values`, one sentence each; `defaults` is its values.yaml."""
    from jsonschema import Draft7Validator

    broken = [
        f"{'.'.join(map(str, error.absolute_path))}: {error.message}"
        for error in Draft7Validator(schema).iter_errors(values)
    ]
    return sorted(broken) + list(_unknown(values, schema, defaults, ()))


def _unknown(values: Any, schema: Any, defaults: Any, place: tuple[str, ...]) -> Iterator[str]:
    if not isinstance(values, Mapping) or place in FREE:
        return
    properties = schema.get("properties", {}) if isinstance(schema, Mapping) else {}
    standing = defaults if isinstance(defaults, Mapping) else {}
    for key, value in values.items():
        if key not in properties and key not in standing:
            near = difflib.get_close_matches(key, [*properties, *standing], n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            yield f"{'.'.join((*place, key))} is no key of this chart{hint}"
        else:
            yield from _unknown(value, properties.get(key), standing.get(key), (*place, key))
