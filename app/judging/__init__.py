"""The log of decisions brought before the evaluation: gathered as arrays, and new policies run over it."""
