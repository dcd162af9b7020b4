"""What holds for all tests."""

import os

import hypothesis
import pytest

# Messages are compared in English, whatever the language of who runs the tests.
os.environ["LC_ALL"] = "C.UTF-8"

# How long an example takes says nothing on a machine that is busy with something else.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")

# What test classes inherit says what it found, as tests do.
pytest.register_assert_rewrite("store_suite")
