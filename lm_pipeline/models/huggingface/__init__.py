"""Models from and for Hugging Face transformers: GPT-2, Llama and BERT, weights and configuration, both ways.

One file a form; its table says which of their tensors is which of ours, and both directions read it.
"""
