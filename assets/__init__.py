"""Dagster's side: components, assets, checks, sensors, schedules, commands. Wires, computes nothing."""

from assets.components import Corpus, Dataset, Experiment

__all__ = ["Corpus", "Dataset", "Experiment"]
