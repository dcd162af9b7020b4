"""The hooks of hypervisors and agents: one file each."""
