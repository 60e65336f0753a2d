"""One file per way to find further records of a request; the file's name is the way's name."""
