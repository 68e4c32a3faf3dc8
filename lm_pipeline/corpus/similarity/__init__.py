"""Documents and paragraphs that repeat others, exactly or nearly."""
