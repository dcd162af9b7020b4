"""The time in which something is at rest, and the process that ends it."""
