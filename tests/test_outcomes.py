"""The outcomes are the same eight names everywhere, and every errno has one."""

from __future__ import annotations

import errno
import socket

from meshproof.fixtures import traffic
from meshproof.fixtures.outcomes import Outcome


def test_the_traffic_program_prints_exactly_the_outcomes_a_history_knows() -> None:
    """The program's strings, repeated since it runs without us, are the enum's values."""
    assert set(traffic.OUTCOMES) == {outcome.value for outcome in Outcome}
    assert len(traffic.OUTCOMES) == len(Outcome)


def test_every_errno_has_an_outcome() -> None:
    """The mapping is total; what has no known meaning, and every error of our own machine, is a harness error."""
    outcome = {name: traffic.outcome_of(OSError(code, ""))[0] for code, name in errno.errorcode.items()}
    assert set(outcome.values()) <= set(traffic.OUTCOMES)
    assert outcome["ECONNREFUSED"] == "refused"
    assert outcome["ETIMEDOUT"] == traffic.outcome_of(TimeoutError("timed out"))[0] == "timed-out"
    assert outcome["ECONNRESET"] == outcome["EPIPE"] == "reset"
    assert outcome["EHOSTUNREACH"] == outcome["ENETUNREACH"] == "unreachable"
    for name in ("EADDRNOTAVAIL", "EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EPERM", "EACCES", "EINVAL"):
        assert outcome[name] == "harness-error", name
    assert traffic.outcome_of(OSError("no errno"))[0] == "harness-error"
    assert traffic.outcome_of(socket.gaierror(socket.EAI_AGAIN, ""))[0] == "dns-failure"


def test_a_resolver_that_refuses_is_a_dns_failure_and_not_a_refusal() -> None:
    """What fails inside a lookup fails as a lookup, unless it is our own limit."""
    assert traffic.outcome_of_lookup(OSError(errno.ECONNREFUSED, ""))[0] == "dns-failure"
    assert traffic.outcome_of_lookup(OSError(errno.EMFILE, ""))[0] == "harness-error"
    assert traffic.outcome_of_lookup(socket.gaierror(socket.EAI_MEMORY, ""))[0] == "harness-error"
