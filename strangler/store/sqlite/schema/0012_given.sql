-- What else a command was given, as a JSON object. NULL: nothing, or an earlier version recorded it.
ALTER TABLE command ADD COLUMN given TEXT;
