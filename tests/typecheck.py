"""beartype as the tests use it: an int is welcome where a float is annotated, as everywhere in Python."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
