-- What a process carries for others: the policy's revision, its trace, who is called back, what it is searched by.
ALTER TABLE process ADD COLUMN revision TEXT;
ALTER TABLE process ADD COLUMN trace TEXT;
ALTER TABLE process ADD COLUMN trace_state TEXT;
ALTER TABLE process ADD COLUMN subscriptions TEXT;
ALTER TABLE process ADD COLUMN business_references TEXT;
