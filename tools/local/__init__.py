"""Where no container engine runs: the same files as plain processes of this machine."""
