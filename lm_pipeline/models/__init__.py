"""Language models, each reading like its paper."""
