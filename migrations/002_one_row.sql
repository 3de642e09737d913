-- Version 2: the ledger stands in the one row of `spool`, so that a transaction writes one page for both, not two.

-- JSON: {"accepted":[points,bytes],"delivered":[…],…}. What is zero need not be there, and a new reason is a new key and needs
-- no migration. The checksum covers what it covered.
ALTER TABLE spool ADD COLUMN ledger TEXT NOT NULL DEFAULT '{}';
UPDATE spool SET ledger = (SELECT json_group_object(key, json_array(points, bytes)) FROM ledger);
DROP TABLE ledger;
