# SPDX-License-Identifier: ISC
"""What holds in clear holds over TLS: tests of other modules once more, over STARTTLS."""
import test_bdat
import test_body
import test_guard
from tls import OverTls


class Chunks(OverTls, test_bdat.Delivery):
    test_50_megabytes = None  # which looks for octets that were spliced


class Stranger(OverTls, test_guard.Stranger):
    pass


class Exceptions(OverTls, test_guard.Exceptions):
    pass


class Addresses(OverTls, test_guard.Addresses):
    pass


class Ways(OverTls, test_body.Ways):
    pass
