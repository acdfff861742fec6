"""SCNet regions: what they are asked, with which token."""
