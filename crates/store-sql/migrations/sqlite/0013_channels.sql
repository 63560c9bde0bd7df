-- Versions that operators let through to the groups that follow a channel.
CREATE TABLE channel_version (
    channel     TEXT NOT NULL,
    version     TEXT NOT NULL,
    promoted_ms INTEGER NOT NULL,
    promoted_by TEXT NOT NULL,
    PRIMARY KEY (channel, version)
) STRICT, WITHOUT ROWID;
