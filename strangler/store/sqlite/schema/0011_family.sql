-- Of which process a forgotten one was another try. NULL: of none, or an earlier version forgot it.
ALTER TABLE tombstone ADD COLUMN parent_id BLOB;

CREATE INDEX tombstone_parent ON tombstone (parent_id) WHERE parent_id IS NOT NULL;
