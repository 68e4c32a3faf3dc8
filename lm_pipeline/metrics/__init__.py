"""Statistics of results. Torch-free."""
