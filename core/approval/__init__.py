"""The institution: vouches for both sides, cross-checks their reports, records each sale."""
