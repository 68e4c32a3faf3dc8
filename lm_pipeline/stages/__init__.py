"""The nodes of the graph: which library function builds which asset from what."""
