"""Training text that overlaps text of an evaluation."""
