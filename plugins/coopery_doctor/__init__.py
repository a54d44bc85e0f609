"""`doctor`: what is well or wrong with this machine, and its mend."""
