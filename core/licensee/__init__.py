"""What agencies and merchants have in common: a license from approval, and questions to it about others."""
