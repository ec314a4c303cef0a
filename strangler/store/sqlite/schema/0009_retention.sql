-- Parts of a final process that are kept for less than itself (milliseconds, counted like `retain`), and which of them are
-- gone: 1 its bodies, 2 its history, 4 the log of its deliveries.
ALTER TABLE process ADD COLUMN retain_bodies INTEGER;
ALTER TABLE process ADD COLUMN retain_history INTEGER;
ALTER TABLE process ADD COLUMN retain_deliveries INTEGER;
ALTER TABLE process ADD COLUMN gone INTEGER NOT NULL DEFAULT 0;

-- What is to be forgotten of processes that stay, and when. Only for routes that say so.
CREATE INDEX process_bodies_until ON process (retain_until_at - retain + retain_bodies)
WHERE retain_bodies IS NOT NULL AND retain_until_at IS NOT NULL AND gone & 1 = 0;
CREATE INDEX process_history_until ON process (retain_until_at - retain + retain_history)
WHERE retain_history IS NOT NULL AND retain_until_at IS NOT NULL AND gone & 2 = 0;
CREATE INDEX process_deliveries_until ON process (retain_until_at - retain + retain_deliveries)
WHERE retain_deliveries IS NOT NULL AND retain_until_at IS NOT NULL AND gone & 4 = 0;
