-- What operators ordered of routes beside the policy; at most one of a kind ("hold", "mode") of a route.
CREATE TABLE route_order (
  route TEXT NOT NULL,
  kind TEXT NOT NULL,
  mode TEXT,
  began_at INTEGER NOT NULL,
  until_at INTEGER,
  who TEXT NOT NULL,
  why TEXT NOT NULL,
  PRIMARY KEY (route, kind)
) STRICT, WITHOUT ROWID;

-- When recorded calls of a route were paused: meanwhile the clock of deadlines stands still. Those of a route do not
-- overlap; one without an end goes on. As many as outages of a month, for the most part a handful.
CREATE TABLE pause (
  route TEXT NOT NULL,
  began_at INTEGER NOT NULL,
  ended_at INTEGER,
  PRIMARY KEY (route, began_at)
) STRICT, WITHOUT ROWID;

-- The ones that go on; never more than one of a route.
CREATE UNIQUE INDEX pause_open ON pause (route) WHERE ended_at IS NULL;
