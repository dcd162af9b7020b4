"""Take a snapshot of a machine's disks: one kind of machine per module."""
