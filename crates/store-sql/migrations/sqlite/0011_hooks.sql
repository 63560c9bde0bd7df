-- How far other systems were told of what the audit log says.
CREATE TABLE hook (
    name        TEXT PRIMARY KEY,
    -- Number of a line of the audit log.
    told        INTEGER NOT NULL,
    told_ms     INTEGER,
    given_up    INTEGER NOT NULL DEFAULT 0,
    -- Of the line after it: 0 and empty while it was not tried.
    tries       INTEGER NOT NULL DEFAULT 0,
    next_ms     INTEGER NOT NULL DEFAULT 0,
    trouble     TEXT NOT NULL DEFAULT ''
) STRICT;
