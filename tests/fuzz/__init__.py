"""Random bad input: rows through the whole decode path, and whole files through real copies (`just fuzz`)."""
