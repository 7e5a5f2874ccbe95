"""From a path to a file that SQLite can open: found, judged, copied privately or upgraded where it has to be."""
