"""What a peer says over its stream, and what an agent therefore holds of that peer (the `feed` seam).

A stream is: hello, puts, synced, then puts and deletes, with heartbeats between. Until "synced",
absence means nothing: what was held before stays, and only then is what the peer no longer named
removed. A lost connection changes nothing. Every change passes the `feed` seam with the record held before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from meshproof.clusters.meshes.reference.records import Key, Member, Record, RecordRefused, decode


@dataclass(frozen=True, slots=True)
class Put:
    """The peer shares this, replacing whatever it said of that service before."""

    record: Record


@dataclass(frozen=True, slots=True)
class Delete:
    """The peer no longer shares this service."""

    key: Key


Event = Put | Delete
Feed = Callable[[Event, Record | None], Event | None]


def feed(event: Event, _held: Record | None) -> Event | None:
    """The healthy feed: every event arrives as it was sent."""
    return event


class PeerRefused(Exception):
    """The other end is not the cluster it should be, or does not speak this protocol."""


@dataclass(slots=True)
class PeerState:
    """What one peer has told us. Not thread-safe: one owner, or a lock around it."""

    member: Member
    records: Mapping[Key, Record] = field(default_factory=dict)
    """Replaced at each change, never changed, so that a reader may keep it."""
    synced: bool = False
    greeted: bool = False
    named: set[Key] = field(default_factory=set)

    def begin(self) -> None:
        """A new connection: what is held stays until the peer has named all it has."""
        self.synced = self.greeted = False
        self.named = set()

    def take(self, line: Any, feed: Feed) -> None:
        """Take one decoded line.

        Raises RecordRefused for a record of another cluster (the stream goes on) and PeerRefused
        for a peer that is not the one we dialled (the stream must end).
        """
        match line.get("op") if isinstance(line, dict) else None:
            case "hello":
                if (line.get("cluster"), line.get("id")) != (self.member.cluster, self.member.id):
                    raise PeerRefused(f"expected {self.member}, got {line}")
                self.greeted = True
            case _ if not self.greeted:
                raise PeerRefused("no hello")
            case "put":
                record = decode(line.get("record"))
                if record.member != self.member:
                    raise RecordRefused(f"{self.member.cluster} sent a record of {record.member}")
                self.named.add(record.key)
                self._apply(Put(record), feed)
            case "delete":
                self._apply(Delete((str(line.get("namespace")), str(line.get("name")))), feed)
            case "synced":
                for key in self.records.keys() - self.named:
                    self._apply(Delete(key), feed)
                self.synced = True
            case "heartbeat":
                pass
            case other:
                raise PeerRefused(f"unknown line {other!r}")

    def _apply(self, sent: Event, feed: Feed) -> None:
        key = sent.key if isinstance(sent, Delete) else sent.record.key
        held = self.records.get(key)
        event = feed(sent, held)
        if isinstance(event, Put) and event.record != held:
            self.records = {**self.records, key: event.record}
        elif isinstance(event, Delete) and held is not None:
            self.records = {other: record for other, record in self.records.items() if other != key}
