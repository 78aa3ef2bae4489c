from __future__ import annotations

from pnnbench.submitting.checks import Checks

#: As Lightning words its errors.
LONG = "The step failed\nin its first line. Lightning goes on.\n\nFor long."


def test_what_own_code_raises_is_told_in_a_line_with_its_place() -> None:
    checks: Checks[int] = Checks()

    @checks.check("raises")
    def raises(trial: int) -> None:
        """It raises."""
        raise RuntimeError(LONG)

    (result,) = checks.run(3, "method")
    assert not result.passed
    assert "\n" not in result.message
    assert result.message.startswith(
        "The method raises RuntimeError: The step failed in its first line.; "
    )
    assert "test_checks.py, line " in result.message
    assert "Lightning goes on" not in result.message
