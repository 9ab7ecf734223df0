"""What every room uses: files written whole, locks, identities by content."""
