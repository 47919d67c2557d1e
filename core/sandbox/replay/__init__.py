"""A real shop's orders, run as guaranteed purchases through real nodes."""
