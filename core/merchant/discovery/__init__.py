"""Three feeds that end in an agency's guarantee, checked against approval's key, and fresh."""
