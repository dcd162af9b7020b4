"""Sessions between `hold` and `release`, as everywhere, with each Debian's Python."""

from integration.guest.test_hold import *  # noqa: F403 - all of its tests
