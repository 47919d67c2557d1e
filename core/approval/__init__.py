"""The institution: vouches for agencies and merchants, cross-checks both sides' reports, records each sale."""
