"""How a server lives: started, told to end, ended with all that it has started."""
