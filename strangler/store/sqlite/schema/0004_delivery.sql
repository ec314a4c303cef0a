-- Who is called back about what: made with the change that is told. The name of a row is that of its process, the
-- version that it tells, and the place of its subscription. A lane is a receiver, or one origin of it.
CREATE TABLE delivery (
  process_id BLOB NOT NULL,
  version INTEGER NOT NULL,
  position INTEGER NOT NULL,
  lane TEXT NOT NULL,
  receiver TEXT NOT NULL,
  url TEXT,
  told TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  state TEXT NOT NULL DEFAULT 'pending',
  sequence INTEGER NOT NULL DEFAULT 1,
  due_at INTEGER,
  attempts INTEGER NOT NULL DEFAULT 0,
  tries INTEGER NOT NULL DEFAULT 0,
  ended_at INTEGER,
  reason TEXT,
  PRIMARY KEY (process_id, version, position)
) STRICT, WITHOUT ROWID;

-- What is to be sent, by lane and instant; covers the next instant and how much there is.
CREATE INDEX delivery_due ON delivery (lane, due_at) WHERE state = 'pending';

-- What is not going to be sent by itself: what is held, and the dead letters.
CREATE INDEX delivery_stuck ON delivery (state, lane) WHERE state IN ('held', 'dead');

-- The delivery log: only ever added to.
CREATE TABLE delivery_attempt (
  process_id BLOB NOT NULL,
  version INTEGER NOT NULL,
  position INTEGER NOT NULL,
  number INTEGER NOT NULL,
  at INTEGER NOT NULL,
  duration INTEGER NOT NULL,
  outcome TEXT NOT NULL,
  address TEXT,
  status INTEGER,
  error TEXT,
  head BLOB NOT NULL,
  PRIMARY KEY (process_id, version, position, number)
) STRICT, WITHOUT ROWID;

-- Receivers to which nothing is sent, or URLs of them (empty: the whole receiver), until somebody says so.
CREATE TABLE receiver_pause (
  receiver TEXT NOT NULL,
  url TEXT NOT NULL,
  at INTEGER NOT NULL,
  who TEXT NOT NULL,
  why TEXT NOT NULL,
  PRIMARY KEY (receiver, url)
) STRICT, WITHOUT ROWID;
