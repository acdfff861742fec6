"""The references in docs/ that are made from the code. Not part of the installed package."""
