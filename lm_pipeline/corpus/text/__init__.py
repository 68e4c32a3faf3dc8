"""What characters and words are: scripts, languages, normal forms, dates."""
