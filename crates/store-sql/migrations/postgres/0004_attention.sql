-- What owners are told by e-mail.
ALTER TABLE account ADD COLUMN letters BOOLEAN NOT NULL DEFAULT TRUE;
-- When the last letter about machines left.
ALTER TABLE account ADD COLUMN lettered_ms BIGINT;

-- Concerns of which the owner was told and that are not over. A machine that is gone has none.
CREATE TABLE told (
    account_id TEXT NOT NULL,
    machine_id TEXT NOT NULL,
    concern    TEXT NOT NULL,
    PRIMARY KEY (account_id, machine_id, concern)
);
