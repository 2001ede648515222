"""Jobs: a folder of series in, a folder of forecasts out; shard by shard, restartable, by processes here or by Ray."""
