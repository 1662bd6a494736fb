"""Inputs that are damaged, hostile or merely odd, made from small computed seeds."""

from tests.helpers.bad_inputs.case import Case
from tests.helpers.bad_inputs.containers import CONTAINERS
from tests.helpers.bad_inputs.headers import HEADERS
from tests.helpers.bad_inputs.pictures import PICTURES
from tests.helpers.bad_inputs.places import PLACES
from tests.helpers.bad_inputs.streams import STREAMS
from tests.helpers.bad_inputs.texts import TEXTS

CASES: tuple[Case, ...] = (*HEADERS, *PICTURES, *STREAMS, *TEXTS, *PLACES, *CONTAINERS)
