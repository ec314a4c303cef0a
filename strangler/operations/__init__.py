"""The private listener: health, metrics, reload."""
