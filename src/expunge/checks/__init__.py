"""One file per metric or attack; the file's name is the check's name."""
