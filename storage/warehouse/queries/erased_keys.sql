-- The ids of the keys of erased texts.
SELECT name FROM erased WHERE what = 'key'
