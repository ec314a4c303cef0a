-- Where the upstream is asked what became of a process that it took, and until when.
ALTER TABLE process ADD COLUMN follow_target TEXT;
ALTER TABLE process ADD COLUMN follow_until_at INTEGER;

-- What waits to be sent is one thing, what is followed another: the backlog and the deadline know only the first.
DROP INDEX process_due;
CREATE INDEX process_due ON process (route, due_at, deadline_at, body_size) WHERE due_at IS NOT NULL AND state != 'following';

-- What is to be looked after, by route and instant: never more than what the upstream has under way.
CREATE INDEX process_followed ON process (route, due_at) WHERE state = 'following';

-- What has been followed for too long.
CREATE INDEX process_follow_over ON process (follow_until_at) WHERE state = 'following';
