-- What operators commanded: only ever added to, a row when it is asked for and one when it is done.
CREATE TABLE command (
  number INTEGER PRIMARY KEY,
  at INTEGER NOT NULL,
  who TEXT NOT NULL,
  what TEXT NOT NULL,
  subject TEXT NOT NULL,
  why TEXT,
  process_id BLOB
) STRICT;

-- The commands about one process.
CREATE INDEX command_process ON command (process_id) WHERE process_id IS NOT NULL;

-- What a command came to; without a row the server ended before it could say.
CREATE TABLE command_end (
  number INTEGER PRIMARY KEY,
  at INTEGER NOT NULL,
  outcome TEXT NOT NULL,
  detail TEXT
) STRICT;

CREATE TRIGGER command_stays BEFORE UPDATE ON command BEGIN SELECT RAISE(ABORT, 'a command is not changed'); END;
CREATE TRIGGER command_is_kept BEFORE DELETE ON command BEGIN SELECT RAISE(ABORT, 'a command is not forgotten'); END;
CREATE TRIGGER command_end_stays BEFORE UPDATE ON command_end BEGIN SELECT RAISE(ABORT, 'a command is not changed'); END;
CREATE TRIGGER command_end_is_kept BEFORE DELETE ON command_end BEGIN SELECT RAISE(ABORT, 'a command is not forgotten'); END;

-- By what people know of a process: 64 bits of the digest of a term (a correlation id that a client gave, an idempotency
-- key, a business reference) to the processes that bear it. A row is a hint, the process itself is asked; written only
-- where there is such a term. By the hour (2^22 ms) of the process first, so that what is written at a time lies
-- together, and goes together.
CREATE TABLE lookup (
  hour INTEGER NOT NULL,
  term INTEGER NOT NULL,
  process_id BLOB NOT NULL,
  PRIMARY KEY (hour, term, process_id)
) STRICT, WITHOUT ROWID;
