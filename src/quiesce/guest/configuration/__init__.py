"""What the owner wrote: the files, read and checked, and who may have written them."""
