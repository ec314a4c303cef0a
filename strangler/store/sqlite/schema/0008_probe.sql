-- How often the upstream was asked what an attempt in doubt did, and whether it was sent again on its word.
ALTER TABLE process ADD COLUMN probes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE process ADD COLUMN repeated INTEGER NOT NULL DEFAULT 0;

-- What is asked about waits for nobody's claim: the backlog and the deadline know only what does.
DROP INDEX process_due;
CREATE INDEX process_due ON process (route, due_at, deadline_at, body_size)
WHERE due_at IS NOT NULL AND state != 'following' AND state != 'in_doubt';

-- What is in doubt and to be asked about, by route and instant: never more than calls that were lost lately.
CREATE INDEX process_probed ON process (route, due_at) WHERE state = 'in_doubt' AND due_at IS NOT NULL;
