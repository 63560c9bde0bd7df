-- Rollouts, what machines told, operators' keys and sessions.

ALTER TABLE account ADD COLUMN early TEXT NOT NULL DEFAULT 'drawn';

ALTER TABLE machine ADD COLUMN created_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE machine ADD COLUMN group_name TEXT;
ALTER TABLE machine ADD COLUMN steady_since_ms INTEGER NOT NULL DEFAULT 0;
UPDATE machine SET created_ms = enrolled_ms, steady_since_ms = enrolled_ms;

-- For machines that fall silent between two looks. The only index that a check-in moves.
CREATE INDEX machine_by_check_in ON machine (checked_in_ms);
CREATE INDEX machine_by_group ON machine (group_name) WHERE group_name IS NOT NULL;
CREATE INDEX account_by_early ON account (early) WHERE early <> 'drawn';

-- Some lines belong to no account and some have a reason. SQLite changes no column in place.
DROP TRIGGER audit_is_not_changed;
DROP TRIGGER audit_is_not_deleted;
DROP INDEX audit_of_account;

CREATE TABLE audit_with_reason (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms      INTEGER NOT NULL,
    actor      TEXT NOT NULL,
    action     TEXT NOT NULL,
    account_id TEXT REFERENCES account (id),
    subject    TEXT NOT NULL,
    reason     TEXT
) STRICT;

INSERT INTO audit_with_reason (number, at_ms, actor, action, account_id, subject)
SELECT number, at_ms, actor, action, account_id, subject FROM audit ORDER BY number;

DROP TABLE audit;
ALTER TABLE audit_with_reason RENAME TO audit;

CREATE INDEX audit_of_account ON audit (account_id, number);

CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE (ABORT, 'the audit log is only added to');
END;

CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
BEGIN
    SELECT RAISE (ABORT, 'the audit log is only added to');
END;

-- Each check-in reads the small columns of all rollouts; the large ones come last, so that
-- they stay unread.
CREATE TABLE rollout (
    number       INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT NOT NULL UNIQUE,
    revision     INTEGER NOT NULL,
    exposed      INTEGER NOT NULL,
    -- Text, because the largest cap does not fit an integer.
    cap          TEXT NOT NULL,
    created_ms   INTEGER NOT NULL,
    looked_ms    INTEGER,
    -- Since when looks have followed each other without the service being away.
    back_ms      INTEGER NOT NULL,
    -- The last line of `finding` that was counted.
    seen         INTEGER NOT NULL,
    looks        INTEGER NOT NULL,
    version      TEXT NOT NULL,
    -- All null: every kernel build for which the version is published.
    release      TEXT,
    architecture TEXT,
    build_id     TEXT,
    phase        TEXT NOT NULL,
    seed         TEXT NOT NULL,
    draw         TEXT NOT NULL,
    plan         TEXT NOT NULL,
    decision     TEXT,
    ledger       TEXT NOT NULL
) STRICT;

CREATE TABLE rollout_look (
    rollout_id TEXT NOT NULL REFERENCES rollout (id),
    number     INTEGER NOT NULL,
    tick       TEXT NOT NULL,
    fleet      TEXT NOT NULL,
    decision   TEXT NOT NULL,
    PRIMARY KEY (rollout_id, number)
) STRICT, WITHOUT ROWID;

-- The sorted list of a draw: sixteen bytes for each unit.
CREATE TABLE draw_list (
    rollout_id TEXT PRIMARY KEY NOT NULL REFERENCES rollout (id),
    units      BLOB NOT NULL
) STRICT;

-- Who was drawn, so that the early group can be counted. `machine_id` is empty where accounts
-- are drawn.
CREATE TABLE drawn (
    rollout_id TEXT NOT NULL REFERENCES rollout (id),
    account_id TEXT NOT NULL,
    machine_id TEXT NOT NULL,
    PRIMARY KEY (rollout_id, account_id, machine_id)
) STRICT, WITHOUT ROWID;

-- Stays when the machine is released.
CREATE TABLE exposure (
    account_id TEXT NOT NULL,
    machine_id TEXT NOT NULL,
    rollout_id TEXT NOT NULL REFERENCES rollout (id),
    exposed_ms INTEGER NOT NULL,
    early      INTEGER NOT NULL,
    -- How the first application ended: `finished`, `apply-failure` or `stall`; null before.
    outcome    TEXT,
    -- When the machine released itself: its last word.
    left_ms    INTEGER,
    PRIMARY KEY (account_id, machine_id, rollout_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX exposure_of_rollout ON exposure (rollout_id, exposed_ms);

-- What machines told. Stays when the machine is released.
CREATE TABLE machine_event (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    account_id  TEXT NOT NULL,
    machine_id  TEXT NOT NULL,
    event_id    TEXT NOT NULL,
    -- As the machine was called then.
    hostname    TEXT NOT NULL,
    received_ms INTEGER NOT NULL,
    at_ms       INTEGER NOT NULL,
    boot_id     TEXT NOT NULL,
    kind        TEXT NOT NULL,
    version     TEXT,
    detail      TEXT NOT NULL,
    UNIQUE (account_id, machine_id, event_id)
) STRICT;

-- Which rollouts an event matters to.
CREATE TABLE event_of_rollout (
    rollout_id TEXT NOT NULL REFERENCES rollout (id),
    number     INTEGER NOT NULL REFERENCES machine_event (number),
    -- The machine had been exposed by this rollout.
    exposed    INTEGER NOT NULL,
    harm       INTEGER NOT NULL,
    PRIMARY KEY (rollout_id, number)
) STRICT, WITHOUT ROWID;

CREATE INDEX harmful_event_of_rollout ON event_of_rollout (rollout_id, number) WHERE harm = 1;

-- What a running rollout learned of a machine: a harm by its name, or `finished`. Each machine
-- and kind once, on the side on which it was first: a frail machine that fell as control would
-- else be at risk again on the exposed side alone.
CREATE TABLE finding (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    rollout_id TEXT NOT NULL REFERENCES rollout (id),
    account_id TEXT NOT NULL,
    machine_id TEXT NOT NULL,
    kind       TEXT NOT NULL,
    exposed    INTEGER NOT NULL,
    -- The machine's stratum, as it was known before.
    paid       INTEGER NOT NULL,
    steady     INTEGER NOT NULL,
    -- When it was told, by this service's clock; for a silence when it became one.
    at_ms      INTEGER NOT NULL,
    UNIQUE (rollout_id, account_id, machine_id, kind)
) STRICT;

CREATE INDEX finding_of_account ON finding (rollout_id, account_id, kind, at_ms);
CREATE INDEX finding_in_order ON finding (rollout_id, number);
CREATE INDEX finding_of_kind ON finding (rollout_id, kind, at_ms);

CREATE TABLE operator_key (
    id            TEXT PRIMARY KEY NOT NULL,
    name          TEXT NOT NULL,
    secret_sha256 BLOB NOT NULL UNIQUE CHECK (length(secret_sha256) = 32),
    created_ms    INTEGER NOT NULL,
    revoked_ms    INTEGER
) STRICT;

CREATE TABLE session (
    secret_sha256   BLOB PRIMARY KEY NOT NULL CHECK (length(secret_sha256) = 32),
    -- What it was begun with: one of the two.
    operator_key_id TEXT REFERENCES operator_key (id),
    token_id        TEXT REFERENCES token (id),
    until_ms        INTEGER NOT NULL,
    CHECK ((operator_key_id IS NULL) <> (token_id IS NULL))
) STRICT;

CREATE INDEX session_by_end ON session (until_ms);
