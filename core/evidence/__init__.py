"""What can be proved later, offline, from exact bytes alone."""
