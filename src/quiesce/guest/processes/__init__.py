"""What the kernel gives a process: forks, signals, memory, control groups, locks."""
