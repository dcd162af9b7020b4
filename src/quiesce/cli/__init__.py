"""The host program: verbs, output, exit statuses."""
