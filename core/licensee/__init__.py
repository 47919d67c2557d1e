"""What agencies and merchants share: a license from approval, questions to it about others."""
