"""One session told in order, and what takes its place when it dies."""
