"""Pages and tables that people read. Torch-free."""
