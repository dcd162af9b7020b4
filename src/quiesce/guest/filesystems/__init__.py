"""Which file systems there are, and how each is frozen and thawed."""
