"""The wallet's engine, without any window: joins an agency, looks at offers, buys, consents, follows each order to its end."""
