"""Secondary indexes, and how vectors of each length are indexed."""
