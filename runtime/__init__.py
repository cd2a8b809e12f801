"""What ringback needs of the interpreter and of the process: forks, hubs that serve, plug-ins."""
