"""A strict reader of the Prometheus text format (version 0.0.4): what a lenient scraper would let
pass is an error here."""
import re

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"')
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("", "_sum", "_count")}


class Metrics:
    def __init__(self, text):
        self.types, self.helps, self.samples = {}, {}, {}
        assert text.endswith("\n"), "the last line has no end"
        family = None
        closed = set()
        for line in text.split("\n")[:-1]:
            name = self._read_line(line)
            if name is not None and name != family:
                assert name not in closed, f"the lines of {name} do not stand together"
                closed.add(family)
                family = name

    def _read_line(self, line):
        """Returns the family that the line belongs to."""
        if line.startswith("# HELP "):
            name, _, text = line[7:].partition(" ")
            assert NAME.fullmatch(name) and name not in self.helps and text, line
            self.helps[name] = text
            return name
        if line.startswith("# TYPE "):
            name, _, kind = line[7:].partition(" ")
            assert kind in ("counter", "gauge", "histogram", "summary", "untyped"), line
            assert name not in self.types, f"two types: {line}"
            self.types[name] = kind
            return name
        if line == "" or line.startswith("#"):
            return None
        return self._read_sample(line)

    def _read_sample(self, line):
        match = re.fullmatch(r"([^{ ]+)(?:\{(.*)\})? (\S+)", line)
        assert match, f"malformed sample: {line!r}"
        name, labels, value = match.groups()
        assert NAME.fullmatch(name), line
        pairs = []
        rest = labels or ""
        while rest:
            pair = LABEL.match(rest)
            assert pair, f"malformed labels: {line!r}"
            pairs.append((pair.group(1), re.sub(r"\\(.)", unescape, pair.group(2))))
            rest = rest[pair.end():]
            assert rest == "" or rest.startswith(","), line
            rest = rest[1:]
        assert len({key for key, _ in pairs}) == len(pairs), f"a label twice: {line}"
        key = (name, tuple(sorted(pairs)))
        assert key not in self.samples, f"a sample twice: {line}"
        self.samples[key] = float(value)
        family = self._family_of(name)
        assert family in self.types and family in self.helps, f"no HELP and TYPE before: {line}"
        if self.types[family] == "counter":
            assert float(value) >= 0, line
        return family

    def _family_of(self, name):
        if name in self.types:
            return name
        for family, kind in self.types.items():
            if name in [family + suffix for suffix in SUFFIXES.get(kind, ())]:
                return family
        return name

    def all(self, name, **labels):
        """label dict -> value, for every sample of that name that has these labels."""
        return [(dict(pairs), value) for (n, pairs), value in self.samples.items()
                if n == name and set(labels.items()) <= set(pairs)]

    def sum(self, name, **labels):
        found = self.all(name, **labels)
        assert found, f"no sample {name} {labels}"
        return sum(value for _, value in found)


def unescape(match):
    return {"n": "\n"}.get(match.group(1), match.group(1))
