-- The boots that a machine's secret was last used from: how often an earlier one came back, and
-- their ids, the latest first.
ALTER TABLE machine ADD COLUMN boots TEXT NOT NULL DEFAULT '';
