"""Raw bytes to clean events or dead letters."""
