"""The decisions: pure functions from facts to plans."""
