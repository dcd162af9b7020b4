"""The verbs: one use case per module, told in order."""
