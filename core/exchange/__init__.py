"""How messages get there: envelopes opened, inbox, outbox, links, the node's doors.

Knows no party's rules.
"""
