SELECT what, name FROM erased
