"""Application-consistent backups of Linux VMs, proven by booting them."""

__version__ = "0.1.0"
