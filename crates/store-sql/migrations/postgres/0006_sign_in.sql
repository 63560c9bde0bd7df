-- Ways to sign in beside the password.

-- Who somebody is to a provider of identities, by OpenID Connect.
CREATE TABLE identity (
    id         TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES account (id),
    issuer     TEXT NOT NULL,
    subject    TEXT NOT NULL,
    -- What the provider called the person; for the owner's eyes.
    name       TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    used_ms    BIGINT,
    UNIQUE (issuer, subject)
);

CREATE INDEX identity_of_account ON identity (account_id);

CREATE TABLE passkey (
    id         TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES account (id),
    credential BYTEA NOT NULL UNIQUE,
    -- As COSE numbers it.
    algorithm  BIGINT NOT NULL,
    -- SubjectPublicKeyInfo, DER.
    public_key BYTEA NOT NULL,
    counter    BIGINT NOT NULL,
    label      TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    used_ms    BIGINT
);

CREATE INDEX passkey_of_account ON passkey (account_id);

-- What was begun in a browser and comes back from a provider or an authenticator, for minutes.
CREATE TABLE ceremony (
    secret_sha256  BYTEA PRIMARY KEY CHECK (length(secret_sha256) = 32),
    kind           TEXT NOT NULL,
    -- The session of the owner who adds a way to sign in; null: somebody signs in.
    session_sha256 BYTEA,
    destination    TEXT NOT NULL,
    until_ms       BIGINT NOT NULL
);

CREATE INDEX ceremony_by_end ON ceremony (until_ms);
