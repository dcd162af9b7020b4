"""The vault keeps recovery points: four verbs on a store, nothing overwritten, no lock."""
