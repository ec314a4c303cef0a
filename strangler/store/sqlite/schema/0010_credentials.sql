-- Whether the request of a process came with credentials, which go when it ends. NULL: an earlier version accepted it.
ALTER TABLE process ADD COLUMN had_credentials INTEGER;
