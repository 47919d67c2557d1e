"""The command line: `surety …`."""
