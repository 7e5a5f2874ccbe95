"""What a run found and did, as values: they hold no row content, and each knows its shape in the JSON report."""
