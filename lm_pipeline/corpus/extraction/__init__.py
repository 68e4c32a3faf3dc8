"""Text out of web pages and documents: main content, metadata, and the child process that parses what is hostile.

Light on imports, because a child process imports it: no pydantic, no polars.
"""
