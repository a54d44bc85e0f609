"""Shell completion: commands, tasks and channels, for bash, zsh and fish."""
