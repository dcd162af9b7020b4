"""The verbs of quiesce-guest: one file each, and the program around them."""
