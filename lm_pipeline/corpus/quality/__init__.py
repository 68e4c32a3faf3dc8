"""Which documents are kept: statistics, rules, lists, a model of quality."""
