"""Surety: guaranteed purchases by buyers whom the shop does not know."""
