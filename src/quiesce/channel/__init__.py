"""The host side of the guest."""
