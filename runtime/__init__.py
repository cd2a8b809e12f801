"""The interpreter and the process: forks, gevent hubs that run servers, and plug-ins."""
