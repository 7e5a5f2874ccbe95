"""Our tables' schema: found, judged, made, with the extension and the registry that it needs."""
