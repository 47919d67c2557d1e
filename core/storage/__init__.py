"""Where facts are: one database a node, one writer that commits."""
