-- Passwords, applications for accounts, links in e-mails, sessions of owners.

-- A PHC string; null before the owner has chosen a password.
ALTER TABLE account ADD COLUMN password_hash TEXT;

-- When its owner deleted it. The row stays for the audit log; its address is no longer there.
ALTER TABLE account ADD COLUMN deleted_ms INTEGER;

CREATE TABLE application (
    link_sha256   BLOB PRIMARY KEY NOT NULL CHECK (length(link_sha256) = 32),
    email         TEXT NOT NULL COLLATE NOCASE,
    password_hash TEXT NOT NULL,
    until_ms      INTEGER NOT NULL
) STRICT;

CREATE INDEX application_by_email ON application (email);
CREATE INDEX application_by_end ON application (until_ms);

CREATE TABLE password_reset (
    link_sha256 BLOB PRIMARY KEY NOT NULL CHECK (length(link_sha256) = 32),
    account_id  TEXT NOT NULL REFERENCES account (id),
    until_ms    INTEGER NOT NULL
) STRICT;

CREATE INDEX password_reset_of_account ON password_reset (account_id);
CREATE INDEX password_reset_by_end ON password_reset (until_ms);

-- Sessions last for hours: whoever is signed in when this runs signs in again.
DROP TABLE session;

CREATE TABLE session (
    secret_sha256   BLOB PRIMARY KEY NOT NULL CHECK (length(secret_sha256) = 32),
    -- What it was begun with: a key, a token, or else the account's password.
    operator_key_id TEXT REFERENCES operator_key (id),
    token_id        TEXT REFERENCES token (id),
    account_id      TEXT REFERENCES account (id),
    until_ms        INTEGER NOT NULL,
    CHECK ((operator_key_id IS NOT NULL) + (token_id IS NOT NULL) + (account_id IS NOT NULL) = 1)
) STRICT;

CREATE INDEX session_by_end ON session (until_ms);
CREATE INDEX session_of_account ON session (account_id) WHERE account_id IS NOT NULL;
CREATE INDEX session_of_token ON session (token_id) WHERE token_id IS NOT NULL;
