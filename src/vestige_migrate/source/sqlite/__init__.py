"""SQLite itself: which library opens a file, how it is opened, what its first bytes say, how names are quoted."""
