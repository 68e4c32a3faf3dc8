"""Text from models: sampling, streaming."""
