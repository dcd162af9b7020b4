"""What has happened in a session, what may be claimed of it, and where it is written down."""
