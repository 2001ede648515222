"""The verbs of the command line: each takes a configuration and calls what does the work."""
