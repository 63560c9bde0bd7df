-- The hardware that a machine was enrolled from, and the machine that took it over: what is heard of
-- no more has no place of its own then.
ALTER TABLE machine ADD COLUMN hardware TEXT;
ALTER TABLE machine ADD COLUMN replaced_by TEXT;
CREATE INDEX machine_by_hardware ON machine (account_id, hardware) WHERE hardware IS NOT NULL;
CREATE INDEX machine_by_replacement ON machine (account_id) WHERE replaced_by IS NOT NULL;
