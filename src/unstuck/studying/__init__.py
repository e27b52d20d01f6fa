"""Studies at work: which there are, one run of one, the verdicts, and their pages."""
