"""What holds for all tests."""

import hypothesis

# How long an example takes says nothing on a machine that is busy with something else.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")
