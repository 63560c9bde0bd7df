-- What accounts pay for, limits of single accounts, and what operators decide for groups.

-- `plan` is what the account has: the better of what an operator granted and what it pays for.
ALTER TABLE account ADD COLUMN granted_plan TEXT NOT NULL DEFAULT 'free';
UPDATE account SET granted_plan = plan;
-- Null: what the plan says.
ALTER TABLE account ADD COLUMN machine_limit INTEGER;

ALTER TABLE machine ADD COLUMN over_limit INTEGER NOT NULL DEFAULT 0;
CREATE INDEX machine_over_limit ON machine (account_id) WHERE over_limit;

-- An account that was a customer of the payment provider once.
CREATE TABLE subscription (
    account_id      TEXT PRIMARY KEY NOT NULL REFERENCES account (id),
    customer        TEXT NOT NULL UNIQUE,
    revision        INTEGER NOT NULL,
    refreshed_ms    INTEGER NOT NULL,
    -- All null: a customer without a subscription.
    subscription_id TEXT,
    status          TEXT,
    period_end_ms   INTEGER,
    ends            INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX subscription_by_refresh ON subscription (refreshed_ms);

-- A GroupPolicy as JSON. A group without a line has none.
CREATE TABLE group_policy (
    group_name TEXT PRIMARY KEY NOT NULL,
    policy     TEXT NOT NULL
) STRICT, WITHOUT ROWID;
