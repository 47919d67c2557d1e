"""Schema versions of this party's database."""
