"""Where raw text comes from: sources, and the listing of their files."""
