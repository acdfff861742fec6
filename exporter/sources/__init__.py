"""Sources: one package for each vendor, and in it one file for each collector."""
