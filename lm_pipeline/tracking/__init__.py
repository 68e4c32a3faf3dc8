"""Metrics and lineage: a local spool is the source of truth, MLflow shows it."""
