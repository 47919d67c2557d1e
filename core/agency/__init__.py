"""The settlement agency: knows its members, asks and bills them, tells nobody who they are."""
