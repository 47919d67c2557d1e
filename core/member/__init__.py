"""The wallet's engine, without any window.

Joins an agency, looks at offers, buys, consents, follows each order to its end.
"""
