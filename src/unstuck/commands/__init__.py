"""What the command line's verbs share, and the verbs that have many options."""
