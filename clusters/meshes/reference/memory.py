"""What an agent knew of its peers, on disk, so that its own restart is not the peers' withdrawal.

An agent that starts while a peer is away goes on with what its predecessor knew, exactly as it does
when a peer goes away later. A journal: each change is one line, appended before the rules that need it, so it is never
older than they are and costs what changed. A last line that was cut off is as if it had never been written; it
is rewritten whole at an agent's start and when it has become long.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from meshproof.clusters.meshes.reference.merge import Imported
from meshproof.clusters.meshes.reference.records import Key, Member, Record, RecordRefused, decode, encode

LINES_MAX = 5000

log = logging.getLogger(__name__)


class Memory:
    """One file of JSON lines, mode 0600; a missing or broken one is an empty memory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: Imported | None = None
        self._lines = 0

    def recall(self, peers: Iterable[Member]) -> dict[str, dict[Key, Record]]:
        """Cluster -> records, for those of `peers` that the file knows under the same name and id."""
        try:
            known = _replay(self._path.read_text())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecordRefused) as error:
            log.warning("nothing remembered: %s", error)
            return {}
        return {
            peer.cluster: known[peer.cluster]
            for peer in peers
            if peer.cluster in known and all(record.member == peer for record in known[peer.cluster].values())
        }

    def keep(self, imported: Imported) -> None:
        """Remember `imported`, if it changed. Raises OSError."""
        if imported == self._kept:
            return
        kept, self._kept = self._kept, None  # should this fail, what the file holds is not known: next time rewrite
        if kept is None or self._lines > LINES_MAX:
            fresh = self._path.with_name(f"{self._path.name}.{os.getpid()}")
            self._lines = 0
            self._write(fresh, os.O_CREAT | os.O_TRUNC, _changes({}, imported))
            os.replace(fresh, self._path)
        else:
            self._write(self._path, os.O_APPEND, _changes(kept, imported))
        self._kept = dict(imported)  # the mappings in it are replaced, never changed

    def _write(self, path: Path, flags: int, lines: Iterable[Any]) -> None:
        texts = [json.dumps(line) + "\n" for line in lines]
        with open(os.open(path, os.O_WRONLY | flags, 0o600), "w") as file:
            file.write("".join(texts))
        self._lines += len(texts)


def _changes(old: Imported, new: Imported) -> Iterator[Any]:
    """The lines that lead from one memory to the other. A peer of which nothing is left is still known of."""
    for cluster, records in new.items():
        before = old.get(cluster)
        if before is None:
            yield {"peer": cluster}
        elif records is before:
            continue
        known = before or {}
        for key, record in records.items():
            if known.get(key) is not record:
                yield {"peer": cluster, "put": encode(record)}
        for namespace, name in known.keys() - records.keys():
            yield {"peer": cluster, "delete": [namespace, name]}


def _replay(text: str) -> dict[str, dict[Key, Record]]:
    """What the lines add up to. Raises one of many for a line that is not one of ours."""
    whole = text.rpartition("\n")[0]
    known: dict[str, dict[Key, Record]] = {}
    for line in whole.splitlines():
        told = json.loads(line)
        held = known.setdefault(told["peer"], {})
        if "put" in told:
            record = decode(told["put"])
            held[record.key] = record
        elif "delete" in told:
            namespace, name = told["delete"]
            held.pop((namespace, name), None)
    return known
