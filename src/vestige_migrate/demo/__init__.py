"""`vestige migrate demo`: a sample source, and questions to the copied data."""
