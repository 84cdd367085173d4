"""Number of examples of property tests: per profile, a factor on the count that each test states.

`-m unit` uses the profile ``quick``; the whole suite uses hypothesis's ``default``. Use
``--hypothesis-profile=long`` before a release.
"""

from hypothesis import HealthCheck, settings

QUICK_PROFILE = "quick"
LONG_PROFILE = "long"
_FACTORS = {QUICK_PROFILE: 0.1, LONG_PROFILE: 20}


def examples(count: int) -> settings:
    """Return settings with this number of examples, times the factor of the current profile.

    There is no deadline: the first example may start a thread, a connection or a library on a busy machine. Fixtures
    live as long as the test; a test that fills them must empty them for each example.
    """
    factor = _FACTORS.get(settings.get_current_profile_name(), 1)
    return settings(
        max_examples=max(3, round(count * factor)),
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
