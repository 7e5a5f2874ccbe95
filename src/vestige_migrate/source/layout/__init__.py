"""What a file holds and means: its schema, version, embedding model, and where each table is read from."""
