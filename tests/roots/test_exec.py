"""Sessions of `exec`, as everywhere, with each Debian's Python."""

from integration.guest.test_exec import *  # noqa: F403 - all of its tests
