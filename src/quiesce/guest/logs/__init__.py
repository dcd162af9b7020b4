"""What is kept to be read: the log, the journal, the reports."""
