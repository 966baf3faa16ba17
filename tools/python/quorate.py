"""A client of Quorate in pure Python: one session at one validator, after docs/client-protocol.md and docs/wire.md.
Needs `cryptography` and `blake3`. It takes one validator's word and has one question or command on its way at a time.

    python3 quorate.py GENESIS KEY-FILE VALIDATOR TEXT...    submits each TEXT, prints a line of JSON each
"""
import hashlib, itertools, json, math, socket, struct, sys, time, zlib
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SUBMIT, STATUS_ASK, SESSION_ASK, VERDICTS, RESULTS, BUSY, REFUSED = 1, 3, 5, 129, 130, 135, 137  # Kinds of frames.
FRAME_BYTES_MAX = 2_097_152  # Towards clients.
OUTCOMES = ["applied", "duplicate", "gap", "table full", "bad signature", "session ended", "too old", "too far ahead"]
hash_of = lambda *parts: blake3(b"".join(parts)).digest()

class Chain:
    """What a genesis file says: names of the chain and its set of validators."""
    def __init__(self, path):
        text = open(path, "rb").read()
        f = self.file = json.loads(text)
        self.names = bytes.fromhex(f["chain_id"]) + hash_of(b"quorate/genesis/v1", text)
        members = f["validators"]
        leads = [m["stake"] if m.get("leader_weight") is None else m["leader_weight"] for m in members]
        table = seats(leads)
        schedule = hash_of(b"bft/schedule/v1", struct.pack(f"<I{len(table)}H", len(table), *table))
        head = struct.pack("<QQQIIBQI", f["epoch"], f["fault_weight"], f["fast_slack"], f["window_slots"],
                           f["turn_windows"], f["crash_only"], f["genesis_time_ns"], len(members))
        body = b"".join(bytes.fromhex(m["key"]) + struct.pack("<QQ", m["stake"], w) for m, w in zip(members, leads))
        self.set_names = struct.pack("<Q", f["epoch"]) + hash_of(b"bft/set/v1", self.names, head, body, schedule)

def seats(weights, most=1024):
    """Who leads when: seats by largest remainder, ties to the lower index, then smooth weighted round robin."""
    counts = [w // math.gcd(*weights) for w in weights]
    if sum(counts) > most:
        counts, left = zip(*(divmod(w * most, sum(weights)) for w in weights))
        extra = sorted(range(len(left)), key=lambda v: -left[v])[: most - sum(counts)]
        counts = [count + (v in extra) for v, count in enumerate(counts)]
    credit, table = [0] * len(counts), []
    while len(table) < sum(counts):
        credit = [c + s for c, s in zip(credit, counts)]
        table.append(max(range(len(counts)), key=lambda v: (credit[v], -v)))
        credit[table[-1]] -= sum(counts)
    return table

class Channel:
    """Noise_NN_25519_ChaChaPoly_SHA256 over TCP, and the stream of bytes in it."""
    def __init__(self, chain, address, timeout=30.0):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host.strip("[]"), port), timeout)
        own = X25519PrivateKey.generate()
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream, self.plain = self.socket.makefile("rb"), b""
        mix = lambda h, data: hashlib.sha256(h + data).digest()
        expand = lambda chaining, material: HKDF(SHA256(), 64, chaining, b"").derive(material)
        name, first = b"Noise_NN_25519_ChaChaPoly_SHA256", own.public_key().public_bytes_raw()
        self.socket.sendall(struct.pack("<HB", 33, 2) + first)
        answer = self.read()
        h = mix(mix(mix(mix(name, b"quorate\1\0" + chain.names + b"\1"), first), b""), answer[:32])
        secret = expand(name, own.exchange(X25519PublicKey.from_public_bytes(answer[:32])))
        ChaCha20Poly1305(secret[32:]).decrypt(bytes(12), answer[32:], h)
        self.handshake, keys = mix(h, answer[32:]), expand(secret[:32], b"")
        self.out, self.inn = ciphers(keys[:32]), ciphers(keys[32:])
    def read(self):
        message = self.stream.read(int.from_bytes(self.stream.read(2), "little"))
        if len(message) < 17: raise ConnectionError("the validator has closed the connection")
        return message
    def send(self, plain):
        for at in range(0, len(plain), 65519):
            cipher, nonce = next(self.out)
            message = cipher.encrypt(nonce, plain[at : at + 65519], b"")
            self.socket.sendall(struct.pack("<H", len(message)) + message)
    def receive(self, count):
        while len(self.plain) < count:
            cipher, nonce = next(self.inn)
            self.plain += cipher.decrypt(nonce, self.read(), b"")
        taken, self.plain = self.plain[:count], self.plain[count:]
        return taken

def ciphers(key):
    """Cipher and nonce of each message in one direction."""
    for number in itertools.count():
        if number and number % (1 << 20) == 0:  # REKEY of Noise.
            key = ChaCha20Poly1305(key).encrypt(bytes(4) + b"\xff" * 8, bytes(32), b"")[:32]
        yield ChaCha20Poly1305(key), bytes(4) + struct.pack("<Q", number)

class Rejected(ConnectionError):
    """A validator does not take a command, and its number is free here. The second argument is the reason. Where that is
    not final the same command may be taken later (3 to 5), or by another validator at once (6, 9)."""
    is_final = property(lambda self: self.args[1] not in (3, 4, 5, 6, 9))

class Client:
    """One session, which is one key."""
    ours = False  # Opened here, and nobody else's command was met since.
    lost = False  # It was told to be open, or to have ended, and not as it was thought to.
    seq = 0
    def __init__(self, chain, seed, validator):
        self.chain, self.key = chain, Ed25519PrivateKey.from_private_bytes(seed)
        self.public, member = self.key.public_key().public_bytes_raw(), chain.file["validators"][validator]
        self.channel, own = Channel(chain, member["client_addresses"][0]), struct.pack("<H", validator)
        _low, _high, index, _incarnation, signature = struct.unpack("<HHHQ64s", self.channel.receive(78))
        if index != validator: raise ConnectionError("another validator")  # The range is not of clients' frames.
        hello = b"bft/hello/v1" + chain.names + chain.set_names + own + self.channel.handshake + own + b"\xff\xff"
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(member["key"])).verify(signature, hello)
        login = b"bft/login/v1" + chain.names + self.channel.handshake + own
        self.channel.send(self.public + self.key.sign(login))
        self.learn()
    def learn(self):
        """Asks where the session stands: behind what was seen here, if the validator has not come so far."""
        last, ended = struct.unpack("<QB", self.ask(SESSION_ASK))
        self.opens = ended or not last  # With the time as its number, which the next ones go on from.
        self.seq, self.ours, self.lost = max(last, self.seq), False, False
    def send(self, kind, content):
        self.sent = struct.pack("<IHBB", 4 + len(content), 4, kind, 0) + content
        self.channel.send(self.sent)
    def next(self, wanted):
        """The content of the next frame of this kind. What the validator was too busy for is sent again."""
        while True:
            while not (length := int.from_bytes(self.channel.receive(4), "little")): pass  # Keep-alives.
            if length > FRAME_BYTES_MAX: raise ConnectionError(f"a frame of {length} bytes is too long")
            frame = self.channel.receive(length)
            version, kind, _zero, self.leader = struct.unpack_from("<HBBH", frame)
            if version != 4 or kind == REFUSED: raise ConnectionError("another version, or nobody is served here")
            if kind == wanted: return frame[6:]
            runs = {VERDICTS: frame[10:], BUSY: struct.pack("<QIB", 0, 0, 1) + frame[14:]}.get(kind, b"")
            for _first, _count, verdict, detail in struct.iter_unpack("<QIBI", runs):
                if verdict == 2: raise Rejected(f"command {self.seq} is rejected: reason {detail}", detail)
                if verdict == 1: time.sleep(min(detail, 1_000_000) / 1e6); self.channel.send(self.sent)
    def ask(self, kind, content=b""):
        """Asks a question (kinds 2 to 5); gives the answer behind its id."""
        self.send(kind, struct.pack("<Q", kind) + content)
        return self.next(kind + 129)[8:]
    def submit(self, body, lane=1, flags=0):
        """Submits a command and waits for its finalized result."""
        if self.lost: self.learn()
        if self.opens: self.open()
        return self.command(self.seq + 1, body, lane, flags)
    def open(self):
        """Opens the session by a sign of life: what is refused may be applied all the same for as long as it is young."""
        before, number = self.seq, max(self.seq + 1, time.time_ns())
        while (told := self.offer(number)) == "table full": time.sleep(1)
        self.opens, self.ours = told not in ("applied", "duplicate"), told == "applied"
        if self.opens: self.seq = before; raise ConnectionError(f"the session is not opened: {told}")
    def offer(self, number):
        """Offers an opening; a validator whose table is full says so at once, others by its result."""
        try: return self.command(number, self.public + b"\0", 1, 3)["outcome"]
        except Rejected as refused:
            if refused.args[1] != 5: raise
            return "table full"
    def command(self, number, body, lane, flags):
        before, self.seq = self.seq, number
        try: told = self.result(body, lane, flags)
        except Rejected as refused:
            self.seq, self.ours = before, self.ours and refused.args[1] != 3  # 3: another one has the number.
            self.lost = refused.args[1] in (8, 12)
            raise
        if told["outcome"] == "session ended": self.seq, self.lost = before, True
        return told
    def result(self, body, lane, flags):
        signed, session = self.chain.file["auth"] == "signed", hash_of(self.public)[:16]
        entry = struct.pack("<BBHI16sQ", lane, signed, flags, len(body), session, self.seq)
        entry += (self.key.sign(b"bft/command/v1" + self.chain.names + entry + body) if signed else b"") + body
        self.send(SUBMIT, struct.pack("<I", 1) + entry)
        while True:
            (height, time_ns, results), at = struct.unpack_from("<QQI", content := self.next(RESULTS)), 20
            for _ in range(results):
                seq, outcome, applied, index, mark, finality_ns, count = struct.unpack_from("<QBQIIQH", content, at)
                at, outputs = at + 35, []
                for _ in range(count):
                    start, at = at + 4, at + 4 + int.from_bytes(content[at : at + 4], "little")
                    outputs.append(content[start:at].hex())
                own = mark in (0, zlib.crc32(entry) or 1)
                if seq == self.seq and (outcome in (2, 4) or outcome > 1 and not own):
                    self.channel.send(self.sent)  # Nothing happened yet, or nothing to another one with this number.
                elif seq == self.seq:
                    self.ours = self.ours and own
                    if not own: raise RuntimeError(f"{seq} is another command's number")
                    if (outcome, mark) == (1, 0) and not (self.ours or flags & 1):
                        raise RuntimeError(f"{seq} was applied, and nobody knows whether it was this command")
                    return {"seq": seq, "outcome": OUTCOMES[outcome], "height": height, "time_ns": time_ns, "mark": mark,
                            "applied": [applied, index], "finality_ns": finality_ns, "outputs": outputs}

def main(genesis, key_file, validator, *texts):
    client = Client(Chain(genesis), bytes.fromhex(open(key_file).read().split()[-1]), int(validator))
    for text in texts: print(json.dumps(client.submit(text.encode())))
    client.submit(b"\0", flags=2)  # A sign of life.
    status = json.loads(client.ask(STATUS_ASK))
    print(json.dumps({"index": status["index"], "seq": client.seq, "leader": client.leader}))

if __name__ == "__main__": main(*sys.argv[1:]) if len(sys.argv) > 3 else sys.exit("usage: quorate.py GENESIS KEY_FILE VALIDATOR [TEXT]...")
