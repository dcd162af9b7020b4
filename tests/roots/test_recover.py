"""A machine that goes down while it holds, as everywhere, with each Debian's Python."""

from integration.guest.test_recover import *  # noqa: F403 - all of its tests
