"""From raw text to compared, explained language models. The library; `assets/` wires it into Dagster."""

__version__ = "0.1.0"
