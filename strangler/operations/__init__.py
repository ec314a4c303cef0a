"""The private listener: health, metrics, reload, and what operators ask (`api`). How logs and metrics are worded."""
