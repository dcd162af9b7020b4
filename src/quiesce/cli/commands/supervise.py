"""`quiesce supervise`: the process that undoes what a dead backup left; not for people."""
