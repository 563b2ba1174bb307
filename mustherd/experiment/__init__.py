"""An experiment: what runs next and when it is over, how a trial is run, what came of it."""
