# SPDX-License-Identifier: ISC
"""What holds in clear holds over TLS: tests of other modules once more, over STARTTLS and where TLS
comes first. A row: a class, the ways, and tests of it that are about clear connections."""
import harness
import test_bdat
import test_body
import test_counted
import test_gate
import test_guard
import test_lengths
import test_limits
import test_smuggling
from tls import OverTls, OverTlsDestination, OverTlsFirst

BOTH, FIRST, BEHIND = (OverTls, OverTlsFirst), (OverTlsFirst,), (OverTlsDestination,)
URGENT = ["test_many_urgent_octets_in_a_large_body", "test_urgent_octets_stay_where_they_are",
          "test_urgent_octets_in_commands_and_bare_newlines"]  # TLS has none
SHORT = [
    (test_bdat.Delivery, (OverTls,), ["test_50_megabytes"]),  # which counts spliced octets
    (test_body.Ways, (OverTls,), []),
    (test_body.Ways, FIRST, URGENT + ["test_log_says_how"]),
    (test_counted.Delivery, FIRST, ["test_records"]),  # which knows of splicing
    (test_guard.Stranger, BOTH, []),
    (test_guard.Exceptions, (OverTls,), []),
    (test_guard.Addresses, (OverTls,), []),
    (test_guard.Credentials, BOTH, []),
    (test_smuggling.Bodies, FIRST, []),
    (test_smuggling.Commands, FIRST, []),
    (test_bdat.Delivery, BEHIND, ["test_50_megabytes"]),
    (test_guard.Stranger, BEHIND, []),
    (test_smuggling.Commands, BEHIND, []),
]
LONG = [
    (test_bdat.Delivery, FIRST, ["test_50_megabytes"]),
    (test_bdat.Moving, FIRST, ["test_nobody_reads_it"]),  # which counts spliced octets
    (test_bdat.Ends, FIRST, []),
    (test_bdat.Gateway, FIRST, []),
    (test_bdat.Smuggling, FIRST, []),
    (test_body.BackPressure, FIRST, []),
    (test_counted.When, FIRST, []),
    (test_counted.Open, FIRST, []),
    (test_counted.Refused, FIRST, []),
    (test_counted.Client, FIRST, []),
    (test_counted.FarAway, FIRST, []),
    (test_gate.Gate, FIRST, []),
    (test_gate.FarGate, FIRST, []),
    (test_gate.Many, FIRST, []),
    (test_gate.FullSpool, FIRST, []),
    (test_guard.Exceptions, FIRST, []),
    (test_guard.Addresses, FIRST, []),
    (test_lengths.Exim, FIRST, []),
    (test_lengths.Postfix, FIRST, []),
    (test_lengths.OpenSmtpd, FIRST, []),
    (test_lengths.Sendmail, FIRST, []),
    (test_lengths.FullExim, FIRST, []),
    (test_lengths.FullPostfix, FIRST, []),
    (test_limits.Sessions, FIRST, []),
    (test_limits.Stress, FIRST, []),
    (test_limits.Pipelining, FIRST, []),
    (test_smuggling.Sink, FIRST, []),
    (test_smuggling.CountedSink, FIRST, []),
    (test_smuggling.Early, FIRST, []),
    (test_body.Ways, BEHIND, URGENT[:2] + ["test_log_says_how"]),
    # (There one chunk is under way at a time.)
    (test_counted.Delivery, BEHIND, ["test_records", "test_bare_newline",
                                     "test_cr_that_was_held_back"]),
    (test_guard.Exceptions, BEHIND, []),
    (test_guard.Credentials, BEHIND, []),
    (test_smuggling.Bodies, BEHIND, []),
]


def define(suite, way, without):
    name = suite.__module__.removeprefix("test_").capitalize() + suite.__name__ + \
        way.__name__.removeprefix("OverTls")
    rows = {"ROWS": over_tls(suite.ROWS)} if hasattr(suite, "ROWS") and way is OverTlsFirst else {}
    globals()[name] = type(name, (way, suite), {
        "__module__": __name__, **rows, **dict.fromkeys(without)})


def over_tls(rows):
    """STARTTLS is known there, and comes too late."""
    return [(octets, got, [503 if code == 502 and b"STARTTLS" in octets else code
                           for code in codes]) for octets, got, codes in rows]


for each, ways, left_out in SHORT + LONG * harness.LONG:
    for one in ways:
        define(each, one, left_out)
del each, one  # or they would be tests of this module
