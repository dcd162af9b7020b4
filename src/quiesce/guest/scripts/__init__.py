"""Run a script: its start, its pipes, its descendants, its end."""
