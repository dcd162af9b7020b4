"""The whole story on a real VM: built, written to, backed up, restored, booted, proven."""
