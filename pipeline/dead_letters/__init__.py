"""Dead letters as an operator has them: found, looked at, corrected, sent again, discarded."""
