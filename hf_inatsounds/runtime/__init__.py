"""Devices and processes: where a model runs, and how the processes of one command wait for each other."""
