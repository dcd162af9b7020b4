"""Say what a session would come to, before there is one."""
