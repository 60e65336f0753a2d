"""One self-contained page, and the other formats, from a report record."""
