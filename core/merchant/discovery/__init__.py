"""Three feeds that end in the same thing: an agency's guarantee, checked against approval's key, and fresh."""
