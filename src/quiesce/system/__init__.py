"""The only code that touches processes, files and clocks."""
