"""What an agent knew of its peers, on disk, so that its own restart is not the peers' withdrawal.

An agent that starts while a peer is away goes on with what its predecessor knew, exactly as it does
when a peer goes away later. Written before the rules that need it, so it is never older than they are.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path

from meshproof.clusters.meshes.reference.merge import Imported
from meshproof.clusters.meshes.reference.records import Key, Member, Record, RecordRefused, decode, encode

log = logging.getLogger(__name__)


class Memory:
    """One JSON file, mode 0600, replaced atomically; a missing or broken file is an empty memory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: Imported | None = None

    def recall(self, peers: Iterable[Member]) -> dict[str, dict[Key, Record]]:
        """Cluster -> records, for those of `peers` that the file knows under the same name and id."""
        try:
            told = json.loads(self._path.read_text())
            known = {cluster: [decode(item) for item in items] for cluster, items in told.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError, RecordRefused) as error:
            log.warning("nothing remembered: %s", error)
            return {}
        return {
            peer.cluster: {record.key: record for record in known[peer.cluster]}
            for peer in peers
            if peer.cluster in known and all(record.member == peer for record in known[peer.cluster])
        }

    def keep(self, imported: Imported) -> None:
        """Remember `imported`, if it changed. Raises OSError."""
        if imported == self._kept:
            return
        text = json.dumps({cluster: [encode(record) for record in held.values()] for cluster, held in imported.items()})
        fresh = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
        os.replace(fresh, self._path)
        self._kept = imported
