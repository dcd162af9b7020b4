"""What an installation puts into the machine, as it is shipped."""
