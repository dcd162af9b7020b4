"""What happens inside the machine that is backed up; standard library only."""
