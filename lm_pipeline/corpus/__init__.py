"""From raw bytes to clean, deduplicated, split documents. Torch-free."""
