"""The exact labeller: regular expressions that find violations in free text."""

import re

SECRET_NAME = (
    r"(?:pass(?:word|wd|phrase)?|pwd|secret|token|api[_-]?key|access[_-]?key|auth[_-]?key"
    r"|private[_-]?key|secret[_-]?key|bearer|credentials?)"
)
PLACEHOLDER = re.compile(
    r"(?i)^[<$%{*]|your|x{4}|\*{3}|example|changeme|placeholder|redacted|\.\.\.|^(?:secret|password|none|null|true|"
    r"false|str|string|bytes|hunter)\W*$"
)
# A value: at least 6 characters, and a digit among them, else it is a word of the sentence.
VALUE = r"(?P<value>(?=[^\s\"'`]*\d)[^\s\"'`<>(){}\[\],;]{6,})"
BETWEEN = r"[\"'`]?\]?(?:\s*(?:=>|:=|[=:])\s*|(?:\s[\w ]{0,30})?\sis\s+|\s+)[\"'`]{0,2}"
CREDENTIALS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"(?i){SECRET_NAME}\w*{BETWEEN}{VALUE}",
        r"\b(?P<value>(?:sk-(?:proj-)?|sk_live_|gh[pousr]_|glpat-|AIza|AKIA|xox[abp]-)[\w-]{10,})",
        r"\b(?P<value>eyJ[\w-]{8,}(?:\.[\w-]+)*)",
        r"(?P<value>-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----)",
        rf"(?i)login\(\s*[\"'][^\"']+[\"'],\s*[\"']{VALUE}",
        r"\w+://[\w.-]+:(?P<value>[^\s@/:]{4,})@[\w.-]+",
        r"-u \w+:(?P<value>\S{6,})",
    )
)
CONTACT = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?P<value>[A-Za-z0-9][\w.+-]*@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,})(?![\w/]|:[\w/~])",
        r"(?P<value>\+1[ -]555[ -]0\d{3}|(?:\+1[ -])?\(?\b\d{3}\)?[ -]\d{3}[ -]\d{4})(?![\w-])",
        r"(?P<value>\b\d{1,4} [A-Z][\w-]+ (?:Street|Road|Avenue)\b)",
    )
)
RULES = {"no-credentials": CREDENTIALS, "no-contact-data": CONTACT}


def find(text: str) -> list[tuple[str, int, int]]:
    """Returns (principle, start, end) of every violation, in the order of their starts."""
    found: set[tuple[str, int, int]] = set()
    for principle, rules in RULES.items():
        for rule in rules:
            for match in rule.finditer(text):
                value = match["value"]
                if principle == "no-credentials" and PLACEHOLDER.search(value):
                    continue
                if value.startswith("git@"):
                    continue
                found.add((principle, match.start("value"), match.end("value")))
    return sorted(found, key=lambda hit: hit[1])


def clean(text: str) -> str:
    """Returns the text without the lines in which a violation begins."""
    starts = {text.count("\n", 0, start) for _, start, _ in find(text)}
    return "\n".join(line for n, line in enumerate(text.split("\n")) if n not in starts)
