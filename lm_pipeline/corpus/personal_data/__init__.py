"""Personal data in text: found by shape, verified by checksum or context, then masked, hashed, dropped or kept."""
