"""What a `forecast stream feed=http` says, heard once for all browsers that look."""
