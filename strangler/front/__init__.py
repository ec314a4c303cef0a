"""The public listener: every public byte passes here."""
