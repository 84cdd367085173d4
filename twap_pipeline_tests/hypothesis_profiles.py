"""How many examples a property test tries: few in the suite, many with ``--hypothesis-profile=long``."""

from hypothesis import HealthCheck, settings

LONG_FACTOR = 20
"""How many times more examples the long profile tries."""

LONG_PROFILE = "long"


def examples(count: int) -> settings:
    """Return the settings of a test that is content with so many examples in the suite.

    There is no deadline: an example may be the first to start a thread, a connection or a library, on a machine that
    others share. Fixtures live as long as the test; a test that fills them empties them for each example.
    """
    factor = LONG_FACTOR if settings.get_current_profile_name() == LONG_PROFILE else 1
    return settings(
        max_examples=count * factor, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
