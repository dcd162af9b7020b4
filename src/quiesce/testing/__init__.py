"""Fakes of the ports, and ways to break them; public, for plugin authors too."""
