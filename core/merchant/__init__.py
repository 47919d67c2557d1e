"""The shop's side: offers, discovery of the agency behind a buyer, orders, sales."""
