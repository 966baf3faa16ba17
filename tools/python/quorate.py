"""A client of Quorate in pure Python: one session at one validator, after docs/client-protocol.md.

Needs `cryptography` (X25519, ChaCha20-Poly1305, Ed25519) and `blake3`. It shows what another language
has to do, and is neither fast nor complete: it takes one validator's word, sends nothing again, and
does not rekey, so a connection ends after a million messages.

    python3 quorate.py GENESIS KEY-FILE VALIDATOR TEXT...    submits each TEXT, prints a line of JSON each
"""

import hashlib
import hmac
import json
import math
import socket
import struct
import sys

from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

WIRE_VERSION, CLIENT_PORT, TO_CLIENT, SEATS_MAX, REKEY_AFTER = 1, 1, 65535, 1024, 1 << 20
OPEN, SESSION = 1, 2
VERDICTS = {0: "accepted", 1: "busy", 2: "rejected"}
OUTCOMES = ["applied", "duplicate", "gap", "table full", "bad signature", "session ended"]


def hash_of(*parts):
    return blake3(b"".join(parts)).digest()


class Chain:
    """What a genesis file says: names of the chain and its set of validators (docs/wire.md)."""

    def __init__(self, path):
        text = open(path, "rb").read()
        self.file = json.loads(text)
        self.id = bytes.fromhex(self.file["chain_id"])
        self.hash = hash_of(b"quorate/genesis/v1", text)
        self.signed = self.file["auth"] == "signed"
        members = self.file["validators"]
        leads = [m.get("leader_weight") if m.get("leader_weight") is not None else m["stake"] for m in members]
        seats = interleave(apportion(leads))
        schedule = hash_of(b"bft/schedule/v1", struct.pack(f"<I{len(seats)}H", len(seats), *seats))
        f = self.file
        head = struct.pack("<QQQIIBQI", f["epoch"], f["fault_weight"], f["fast_slack"], f["window_slots"],
                           f["turn_windows"], f["crash_only"], f["genesis_time_ns"], len(members))
        body = b"".join(bytes.fromhex(m["key"]) + struct.pack("<QQ", m["stake"], w) for m, w in zip(members, leads))
        self.set_hash = hash_of(b"bft/set/v1", self.id, self.hash, head, body, schedule)

    def hello(self, handshake, validator):
        names = self.id + self.hash + struct.pack("<Q", self.file["epoch"]) + self.set_hash
        own, peer = struct.pack("<H", validator), struct.pack("<H", TO_CLIENT)
        return b"bft/hello/v1" + names + own + handshake + own + peer


def apportion(weights):
    """Seats of each validator by largest remainder; ties go to the lower index."""
    divisor, total = math.gcd(*weights), sum(weights)
    if total // divisor <= SEATS_MAX:
        return [w // divisor for w in weights]
    seats = [w * SEATS_MAX // total for w in weights]
    by_remainder = sorted(range(len(weights)), key=lambda v: -(weights[v] * SEATS_MAX % total))
    for v in by_remainder[: SEATS_MAX - sum(seats)]:
        seats[v] += 1
    return seats


def interleave(seats):
    """Smooth weighted round robin."""
    credit, table = [0] * len(seats), []
    for _ in range(sum(seats)):
        credit = [c + s for c, s in zip(credit, seats)]
        best = max(range(len(seats)), key=lambda v: (credit[v], -v))
        credit[best] -= sum(seats)
        table.append(best)
    return table


class Channel:
    """Noise_NN_25519_ChaChaPoly_SHA256 over TCP, and the frames in it (docs/wire.md)."""

    def __init__(self, chain, address, timeout):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        prologue = b"quorate" + struct.pack("<H", WIRE_VERSION) + chain.id + chain.hash + bytes([CLIENT_PORT])
        chaining = b"Noise_NN_25519_ChaChaPoly_SHA256"
        mix = lambda h, data: hashlib.sha256(h + data).digest()
        own = X25519PrivateKey.generate()
        e = own.public_key().public_bytes_raw()
        h = mix(mix(mix(chaining, prologue), e), b"")
        self.write(bytes([2]) + e)
        answer = self.read()
        if len(answer) != 48:
            raise ConnectionError("no second message of the handshake")
        chaining, key = expand(chaining, own.exchange(X25519PublicKey.from_public_bytes(answer[:32])))
        h = mix(h, answer[:32])
        ChaCha20Poly1305(key).decrypt(bytes(12), answer[32:], h)
        self.handshake = mix(h, answer[32:])
        self.out, self.inn = map(ChaCha20Poly1305, expand(chaining, b""))
        self.sent = self.received = 0
        self.plain = b""

    def write(self, message):
        self.socket.sendall(struct.pack("<H", len(message)) + message)

    def read(self):
        return self.exactly(struct.unpack("<H", self.exactly(2))[0])

    def exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                raise ConnectionError("the validator has closed the connection")
            data += more
        return data

    def send(self, plain):
        for at in range(0, len(plain), 65519):
            self.write(self.out.encrypt(nonce(self.sent), plain[at : at + 65519], b""))
            self.sent += 1

    def receive(self):
        plain = self.inn.decrypt(nonce(self.received), self.read(), b"")
        self.received += 1
        return plain

    def send_frame(self, frame):
        self.send(struct.pack("<I", len(frame)) + frame)

    def receive_frame(self):
        while True:
            if len(self.plain) >= 4:
                (length,) = struct.unpack_from("<I", self.plain)
                if len(self.plain) >= 4 + length:
                    frame, self.plain = self.plain[4 : 4 + length], self.plain[4 + length :]
                    if frame:  # An empty one is a keep-alive.
                        return frame
                    continue
            self.plain += self.receive()


def expand(chaining, material):
    """HKDF of Noise, two outputs."""
    temporary = hmac.digest(chaining, material, "sha256")
    first = hmac.digest(temporary, b"\1", "sha256")
    return first, hmac.digest(temporary, first + b"\2", "sha256")


def nonce(number):
    if number >= REKEY_AFTER:
        raise ConnectionError("this client does not rekey")
    return bytes(4) + struct.pack("<Q", number)


class Client:
    """One session, which is one key."""

    def __init__(self, chain, seed, validator, timeout=30.0):
        self.chain, self.key = chain, Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self.key.public_key().public_bytes_raw()
        self.session = hash_of(self.public)[:16]
        member = chain.file["validators"][validator]
        channel = self.channel = Channel(chain, member["client_addresses"][0], timeout)
        low, high, index, _incarnation, signature = struct.unpack("<HHHQ64s", channel.receive())
        if index != validator or not low <= WIRE_VERSION <= high:
            raise ConnectionError("another validator, or another version")
        validator_key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(member["key"]))
        validator_key.verify(signature, chain.hello(channel.handshake, validator))
        login = b"bft/login/v1" + chain.id + chain.hash + channel.handshake + struct.pack("<H", validator)
        channel.send(self.public + self.key.sign(login))
        self.seq, ended = struct.unpack_from("<QB", self.ask(5))
        if ended:
            raise ConnectionError("the session of this key has ended")

    def ask(self, kind, content=b""):
        """Asks a question (kinds 2 to 5); gives the answer behind its id."""
        self.channel.send_frame(struct.pack("<HBBQ", 1, kind, 0, 7) + content)
        while True:
            answer, body = self.next()
            if answer in (131, 132, 133, 134) and body[:8] == struct.pack("<Q", 7):
                return body[8:]
            if answer == 135:
                raise TimeoutError("the validator is busy")

    def next(self):
        """Kind and content of the next frame."""
        frame = self.channel.receive_frame()
        version, kind, _zero, self.leader = struct.unpack_from("<HBBH", frame)
        if version != 1:
            raise ConnectionError("another version of the client protocol")
        return kind, frame[6:]

    def entry(self, body, lane, flags):
        if self.seq == 1:
            flags, body = flags | OPEN, self.public + body
        fixed = struct.pack("<BBHI16sQ", lane, self.chain.signed, flags, len(body), self.session, self.seq)
        message = b"bft/command/v1" + self.chain.id + self.chain.hash + fixed + body
        return fixed + (self.key.sign(message) if self.chain.signed else b"") + body

    def submit(self, body, lane=1, flags=0):
        """Submits a command and waits for its finalized result."""
        self.seq += 1
        self.channel.send_frame(struct.pack("<HBBI", 1, 1, 0, 1) + self.entry(body, lane, flags))
        while True:
            kind, content = self.next()
            if kind == 129:
                for first, count, verdict, detail in struct.iter_unpack("<QIBI", content[4:]):
                    if first <= self.seq < first + count and verdict != 0:
                        raise ConnectionError(f"command {self.seq} is {VERDICTS[verdict]}: {detail}")
            if kind == 130:
                for result in results(content):
                    if result["seq"] == self.seq:
                        return result


def results(content):
    """The results of a frame of kind 130."""
    height, time_ns, count = struct.unpack_from("<QQI", content)
    at = 20
    for _ in range(count):
        seq, outcome, applied, index, finality_ns, outputs = struct.unpack_from("<QBQIQH", content, at)
        at += 31
        found = []
        for _ in range(outputs):
            (length,) = struct.unpack_from("<I", content, at)
            found.append(content[at + 4 : at + 4 + length].hex())
            at += 4 + length
        yield {"seq": seq, "outcome": OUTCOMES[outcome], "height": height, "time_ns": time_ns,
               "applied": [applied, index], "finality_ns": finality_ns, "outputs": found}


def main(genesis, key_file, validator, *texts):
    seed = bytes.fromhex(open(key_file).read().removeprefix("quorate-key-v1 ").strip())
    client = Client(Chain(genesis), seed, int(validator))
    for text in texts:
        print(json.dumps(client.submit(text.encode())))
    client.submit(b"\0", flags=SESSION)  # A sign of life.
    status = json.loads(client.ask(3))
    print(json.dumps({"index": status["index"], "seq": client.seq, "leader": client.leader}))


if __name__ == "__main__":
    main(*sys.argv[1:])
