-- When the hub learnt of the erasure of $name, if it has.
SELECT occurred_at FROM person_erased WHERE what = $what AND name = $name ORDER BY occurred_at LIMIT 1
