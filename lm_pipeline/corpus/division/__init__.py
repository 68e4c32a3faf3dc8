"""Splits: what is trained on, what is evaluated on, and how that lasts while text grows."""
