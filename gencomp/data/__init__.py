"""From a source of photographs to training shards: download, label maps, selection, sharding."""
