"""A host on AXI4-Lite that drives a model from Python, one cycle at a time."""

from collections import deque

SLVERR = 2
LIMIT = 3000  # cycles after which an access has failed
WRITE, DATA, READ, RESPONSE, VALUE = "aw", "w", "ar", "b", "r"
INPUTS = {WRITE: ("awaddr",), DATA: ("wdata", "wstrb"), READ: ("araddr",)}
OUTPUTS = {RESPONSE: ("bresp",), VALUE: ("rresp", "rdata")}


class Host:
    """Sends accesses; with `rng` every channel begins and takes its transfers at random times.

    `offers` and `takes` are the shares of cycles in which it does. `each_cycle` is called before
    every rise of the clock.
    """

    def __init__(self, model, *, rng=None, each_cycle=lambda: None, offers=0.3, takes=0.5):
        self.model, self.rng, self.each_cycle = model, rng, each_cycle
        self.offers, self.takes = offers, takes
        self.waiting = {channel: deque() for channel in INPUTS}
        self.offered = dict.fromkeys(INPUTS)
        self.answers = {RESPONSE: [], VALUE: []}
        self.seen = dict.fromkeys(OUTPUTS)
        self.sent = {RESPONSE: 0, VALUE: 0}

    def write(self, address, value, *, strobe=15):
        """Write a word; the response."""
        self.send_write(address, value, strobe=strobe)
        self.finish()
        return self.answers[RESPONSE][-1][0]

    def read(self, address):
        """Read a word that must answer OKAY."""
        response, value = self.read_any(address)
        assert response == 0, f"reading {address:#x} must not fail"
        return value

    def read_any(self, address):
        """Response and value."""
        self.send_read(address)
        self.finish()
        return self.answers[VALUE][-1]

    def send_write(self, address, value, *, strobe=15):
        self.waiting[WRITE].append((address,))
        self.waiting[DATA].append((value, strobe))
        self.sent[RESPONSE] += 1

    def send_read(self, address):
        self.waiting[READ].append((address,))
        self.sent[VALUE] += 1

    def finish(self):
        """Let the clock run until everything is answered."""
        for _ in range(LIMIT):
            if all(len(self.answers[channel]) == self.sent[channel] for channel in OUTPUTS):
                return
            self.tick()
        raise AssertionError("an access was never answered")

    def tick(self, cycles=1):
        for _ in range(cycles):
            self._offer()
            self._take()
            self.each_cycle()
            self.model.tick()
            for name in OUTPUTS:
                self._check_kept(name)

    def _may(self, share):
        return self.rng is None or self.rng.random() < share

    def _offer(self):
        """Begin transfers, and note those that pass at the next rise of the clock."""
        model = self.model
        for channel, ports in INPUTS.items():
            if self.offered[channel] is None and self.waiting[channel] and self._may(self.offers):
                self.offered[channel] = self.waiting[channel].popleft()
                for port, value in zip(ports, self.offered[channel], strict=True):
                    model.set(f"host_{port}", value)
            ready = model.get(f"host_{channel}ready")
            model.set(f"host_{channel}valid", self.offered[channel] is not None)
            assert model.get(f"host_{channel}ready") == ready, "ready follows valid"
            if ready:
                self.offered[channel] = None

    def _take(self):
        model = self.model
        for channel, ports in OUTPUTS.items():
            valid = model.get(f"host_{channel}valid")
            ready = self._may(self.takes)
            model.set(f"host_{channel}ready", ready)
            assert model.get(f"host_{channel}valid") == valid, "valid follows ready"
            self.seen[channel] = None
            if valid:
                beat = tuple(model.get(f"host_{port}") for port in ports)
                if ready:
                    self.answers[channel].append(beat)
                else:
                    self.seen[channel] = beat

    def _check_kept(self, channel):
        """An answer that was not taken stays as it is."""
        if (beat := self.seen[channel]) is not None:
            assert self.model.get(f"host_{channel}valid")
            now = tuple(self.model.get(f"host_{port}") for port in OUTPUTS[channel])
            assert now == beat
