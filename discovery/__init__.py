"""Where the servers of a service are: names that have many addresses, and registries in which servers announce themselves."""
