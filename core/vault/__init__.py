"""Where secrets are kept: behind one port, the desktop's keyring or a file with one reader."""
