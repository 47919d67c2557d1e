"""The settlement agency: knows its members, asks them, bills them, and tells nobody who they are."""
