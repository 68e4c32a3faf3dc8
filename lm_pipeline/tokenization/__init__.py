"""Sentencepiece tokenizers and Megatron token shards. Torch-free."""
