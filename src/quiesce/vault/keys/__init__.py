"""Keys: who may read the vault, who may write in it, who may take away from it."""
