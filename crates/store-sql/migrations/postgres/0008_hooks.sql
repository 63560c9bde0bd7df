-- How far other systems were told of what the audit log says.
CREATE TABLE hook (
    name        TEXT PRIMARY KEY,
    -- Number of a line of the audit log.
    told        BIGINT NOT NULL,
    told_ms     BIGINT,
    given_up    BIGINT NOT NULL DEFAULT 0,
    -- Of the line after it: 0 and empty while it was not tried.
    tries       BIGINT NOT NULL DEFAULT 0,
    next_ms     BIGINT NOT NULL DEFAULT 0,
    trouble     TEXT NOT NULL DEFAULT ''
);
