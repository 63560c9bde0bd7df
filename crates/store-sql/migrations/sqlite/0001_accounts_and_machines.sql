-- Times are milliseconds since 1970-01-01T00:00:00Z, ids are text as the program writes them,
-- secrets are here as their SHA-256 alone.

CREATE TABLE account (
    id         TEXT PRIMARY KEY NOT NULL,
    email      TEXT NOT NULL COLLATE NOCASE UNIQUE,
    plan       TEXT NOT NULL,
    created_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE token (
    id            TEXT PRIMARY KEY NOT NULL,
    account_id    TEXT NOT NULL REFERENCES account (id),
    label         TEXT NOT NULL,
    secret_sha256 BLOB NOT NULL UNIQUE CHECK (length(secret_sha256) = 32),
    created_ms    INTEGER NOT NULL,
    revoked_ms    INTEGER
) STRICT;

CREATE INDEX token_of_account ON token (account_id);

CREATE TABLE machine (
    account_id    TEXT NOT NULL REFERENCES account (id),
    machine_id    TEXT NOT NULL,
    hostname      TEXT NOT NULL,
    release       TEXT NOT NULL,
    architecture  TEXT NOT NULL,
    build_id      TEXT NOT NULL,
    agent_version TEXT NOT NULL,
    token_id      TEXT NOT NULL REFERENCES token (id),
    secret_sha256 BLOB NOT NULL UNIQUE CHECK (length(secret_sha256) = 32),
    enrolled_ms   INTEGER NOT NULL,
    -- The latest check-in; all null before the first.
    checked_in_ms INTEGER,
    boot_id       TEXT,
    boot_ms       INTEGER,
    state         TEXT,
    applied       TEXT,
    failure       TEXT,
    PRIMARY KEY (account_id, machine_id)
) STRICT;

-- Lines are added and never changed: the database itself refuses anything else.
CREATE TABLE audit (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms      INTEGER NOT NULL,
    actor      TEXT NOT NULL,
    action     TEXT NOT NULL,
    account_id TEXT NOT NULL REFERENCES account (id),
    subject    TEXT NOT NULL
) STRICT;

CREATE INDEX audit_of_account ON audit (account_id, number);

CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE (ABORT, 'the audit log is only added to');
END;

CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
BEGIN
    SELECT RAISE (ABORT, 'the audit log is only added to');
END;
