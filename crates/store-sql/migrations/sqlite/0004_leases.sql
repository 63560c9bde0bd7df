-- Which of several servers does what for all; by the database's clock.
CREATE TABLE lease (
    job      TEXT PRIMARY KEY NOT NULL,
    holder   TEXT NOT NULL,
    until_ms INTEGER NOT NULL,
    -- How often others called for the job to be done soon.
    calls    INTEGER NOT NULL
) STRICT;
