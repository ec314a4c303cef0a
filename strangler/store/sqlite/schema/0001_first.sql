-- Ids are UUIDs of 16 bytes, instants are milliseconds since the Unix epoch. Column names are those of the domain.
-- No foreign keys: they would cost a look-up for each row of an acceptance; all rows of one process come by one commit
-- and go by one step of the sweep, and `strangler fsck` looks for strays.
-- An index is paid for by every acceptance and every transition; each one says here what it is for.

-- A process as it stands, the projection of its events. Read by the unique index on id.
CREATE TABLE process (
  id BLOB NOT NULL PRIMARY KEY,
  route TEXT NOT NULL,
  type TEXT NOT NULL,
  promise TEXT NOT NULL,
  base TEXT NOT NULL,
  resource TEXT NOT NULL,
  method TEXT NOT NULL,
  correlation_id TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  deadline_at INTEGER NOT NULL,
  retain INTEGER NOT NULL,
  promised INTEGER NOT NULL,
  caller TEXT,
  caller_name TEXT,
  key TEXT,
  key_scope TEXT,
  key_lookup TEXT,
  key_life INTEGER NOT NULL,
  body_size INTEGER NOT NULL,
  parent_id BLOB,
  state TEXT NOT NULL,
  version INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  head BLOB NOT NULL,
  updated_at INTEGER NOT NULL,
  due_at INTEGER,
  finished_at INTEGER,
  owner TEXT,
  fence INTEGER NOT NULL DEFAULT 0,
  tries INTEGER NOT NULL DEFAULT 0,
  attempts INTEGER NOT NULL DEFAULT 0,
  unresolved INTEGER NOT NULL DEFAULT 0,
  settling INTEGER NOT NULL DEFAULT 0,
  status TEXT,
  reason TEXT,
  effect TEXT,
  result_status INTEGER,
  result_type TEXT,
  result_length INTEGER,
  result_kept INTEGER NOT NULL DEFAULT 0,
  retain_until_at INTEGER
) STRICT;

-- What may be claimed, by route and instant; covers the next instant, the overdue and the backlog.
CREATE INDEX process_due ON process (route, due_at, deadline_at, body_size) WHERE due_at IS NOT NULL;

-- Those under way, to find the ones whose owner is gone: never more than calls in flight.
CREATE INDEX process_under_way ON process (owner) WHERE state = 'processing';

-- A caller's own list, newest first.
CREATE INDEX process_caller ON process (caller, id) WHERE caller IS NOT NULL;

-- What is to be forgotten, and when.
CREATE INDEX process_retention ON process (retain_until_at) WHERE retain_until_at IS NOT NULL;

-- The recorded request. Data last, so that a head is read without its overflow pages; NULL where it lies in chunks.
CREATE TABLE request (
  process_id BLOB NOT NULL PRIMARY KEY,
  method TEXT NOT NULL,
  target BLOB NOT NULL,
  headers BLOB NOT NULL,
  size INTEGER NOT NULL,
  digest BLOB NOT NULL,
  data BLOB
) STRICT;

-- The identity headers of a request, sealed; deleted when its process is final.
CREATE TABLE credential (
  process_id BLOB NOT NULL PRIMARY KEY,
  sealed BLOB NOT NULL
) STRICT;

-- The reply that was recorded with the end. Not kept: it was larger than `call.max_reply`.
CREATE TABLE reply (
  process_id BLOB NOT NULL PRIMARY KEY,
  attempt INTEGER NOT NULL,
  status INTEGER NOT NULL,
  reason BLOB NOT NULL,
  headers BLOB NOT NULL,
  size INTEGER NOT NULL,
  digest BLOB NOT NULL,
  kept INTEGER NOT NULL,
  data BLOB
) STRICT;

-- Pieces of bodies longer than one piece; they count once a request or reply names them.
CREATE TABLE chunk (
  process_id BLOB NOT NULL,
  part TEXT NOT NULL,
  number INTEGER NOT NULL,
  data BLOB NOT NULL,
  PRIMARY KEY (process_id, part, number)
) STRICT;

-- The history: only ever added to.
CREATE TABLE event (
  process_id BLOB NOT NULL,
  sequence INTEGER NOT NULL,
  version INTEGER NOT NULL,
  at INTEGER NOT NULL,
  content TEXT NOT NULL,
  digest BLOB NOT NULL,
  PRIMARY KEY (process_id, sequence)
) STRICT;

-- Public changes for whoever is to be told; names as Debezium's outbox router expects them.
CREATE TABLE outbox (
  seq INTEGER PRIMARY KEY,
  id BLOB NOT NULL,
  aggregatetype TEXT NOT NULL,
  aggregateid BLOB NOT NULL,
  type TEXT NOT NULL,
  payload TEXT NOT NULL,
  created_at INTEGER NOT NULL
) STRICT;

-- They go with their process.
CREATE INDEX outbox_aggregate ON outbox (aggregateid);

-- Which process an idempotency key belongs to. Without an instant it cannot lapse yet.
CREATE TABLE idempotency (
  scope TEXT NOT NULL,
  key TEXT NOT NULL,
  fingerprint BLOB NOT NULL,
  process_id BLOB NOT NULL,
  expires_at INTEGER,
  PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_expiry ON idempotency (expires_at) WHERE expires_at IS NOT NULL;

-- The tries of a process; without an outcome it is under way, or was when its worker died.
CREATE TABLE attempt (
  process_id BLOB NOT NULL,
  number INTEGER NOT NULL,
  fence INTEGER NOT NULL,
  owner TEXT NOT NULL,
  started_at INTEGER NOT NULL,
  ended_at INTEGER,
  outcome TEXT,
  status INTEGER,
  detail TEXT,
  PRIMARY KEY (process_id, number)
) STRICT, WITHOUT ROWID;

-- What says what an attempt did, and came by another way than its own outcome.
CREATE TABLE evidence (
  seq INTEGER PRIMARY KEY,
  process_id BLOB NOT NULL,
  attempt INTEGER NOT NULL,
  source TEXT NOT NULL,
  at INTEGER NOT NULL,
  status INTEGER,
  headers BLOB NOT NULL,
  body BLOB NOT NULL
) STRICT;

CREATE INDEX evidence_process ON evidence (process_id);

-- What a person has, or had, to look at; at most one is open of a kind and process.
CREATE TABLE exception (
  seq INTEGER PRIMARY KEY,
  process_id BLOB NOT NULL,
  kind TEXT NOT NULL,
  opened_at INTEGER NOT NULL,
  detail TEXT NOT NULL,
  closed_at INTEGER
) STRICT;

CREATE UNIQUE INDEX exception_open ON exception (process_id, kind) WHERE closed_at IS NULL;

CREATE INDEX exception_process ON exception (process_id);

-- The right of a worker to send, until an instant (nanoseconds of CLOCK_BOOTTIME) of one boot.
CREATE TABLE lease (
  owner TEXT NOT NULL PRIMARY KEY,
  boot_id TEXT NOT NULL,
  until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Small texts that outlive a restart.
CREATE TABLE archive (
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  text TEXT NOT NULL,
  PRIMARY KEY (kind, name)
) STRICT;

-- What is left of a process after its retention.
CREATE TABLE tombstone (
  id BLOB NOT NULL PRIMARY KEY,
  resource TEXT NOT NULL,
  caller TEXT,
  promise TEXT NOT NULL,
  until_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX tombstone_until ON tombstone (until_at);

-- One row that comes and goes: whether the disk takes anything again.
CREATE TABLE probe (
  seq INTEGER PRIMARY KEY,
  data BLOB NOT NULL
) STRICT;
