-- The exception queue: who looks after what, until when, what was done about it and why. The table is made anew, so that
-- the number of an exception, which people write down, is never given to another one.
DROP INDEX exception_open;
DROP INDEX exception_process;
ALTER TABLE exception RENAME TO exception_before;

-- What a person has, or had, to look at. Sixteen zero octets for a process: it is about the whole store.
CREATE TABLE exception (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  process_id BLOB NOT NULL,
  kind TEXT NOT NULL,
  opened_at INTEGER NOT NULL,
  detail TEXT NOT NULL,
  closed_at INTEGER,
  subject TEXT NOT NULL,
  route TEXT NOT NULL,
  due_at INTEGER NOT NULL,
  owner TEXT,
  closed_by TEXT,
  action TEXT
) STRICT;

INSERT INTO exception (seq, process_id, kind, opened_at, detail, closed_at, subject, route, due_at)
SELECT seq, process_id, kind, opened_at, detail, closed_at, '',
  COALESCE((SELECT route FROM process WHERE process.id = process_id), ''),
  opened_at + iif(kind = 'in_doubt', 14400000, 86400000)
FROM exception_before;

DROP TABLE exception_before;

-- At most one is open of a process, kind and subject.
CREATE UNIQUE INDEX exception_open ON exception (process_id, kind, subject) WHERE closed_at IS NULL;

-- They go with their process.
CREATE INDEX exception_process ON exception (process_id);

-- The queue, the longest due first, and how many there are of a kind: both without a look into the table.
CREATE INDEX exception_due ON exception (due_at, seq, kind, route, owner) WHERE closed_at IS NULL;

-- What was done about an exception: only ever added to.
CREATE TABLE exception_note (
  seq INTEGER PRIMARY KEY,
  exception INTEGER NOT NULL,
  at INTEGER NOT NULL,
  who TEXT NOT NULL,
  did TEXT NOT NULL,
  text TEXT NOT NULL
) STRICT;

CREATE INDEX exception_note_of ON exception_note (exception);
