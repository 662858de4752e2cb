"""The verbs of the command line: options, help and examples. Each module imports what does the work when it runs."""
