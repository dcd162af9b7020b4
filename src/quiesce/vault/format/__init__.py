"""The bytes of everything stored: versioned, pure (`docs/design/vault-format.md`)."""
