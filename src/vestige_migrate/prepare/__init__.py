"""Getting both ends of a run ready, for a copy and for a comparison: opened, judged, locked; nothing is copied here."""
