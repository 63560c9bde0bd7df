-- How many machines were alike at each hour. A machine that was not heard of yet has an empty
-- state, and one without a live patch an empty version.
CREATE TABLE fleet_sample (
    at_ms    INTEGER NOT NULL,
    release  TEXT NOT NULL,
    state    TEXT NOT NULL,
    applied  TEXT NOT NULL,
    machines INTEGER NOT NULL,
    heard    INTEGER NOT NULL,
    PRIMARY KEY (at_ms, release, state, applied)
) STRICT, WITHOUT ROWID;
