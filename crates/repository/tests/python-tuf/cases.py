"""Repositories made by python-tuf, honest and not, for readers to be tried on.

    cases.py FOLDER

Each case is a folder with `root.json`, what a machine trusts at first; folders `0`, `1`, …, each
the whole repository at one time; and `steps.json`: for each of these what a reader should make of
it, and the versions of timestamp and snapshot below which it never goes afterwards.
"""

import datetime
import hashlib
import json
import pathlib
import sys

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

ROLES = ("root", "timestamp", "snapshot", "targets")
# The readers' present; see `start` in shop.rs.
NOW = datetime.datetime(2026, 10, 1, 12, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)


class Repository:
    """A repository whose owner, or thief, may sign anything that they have keys for."""

    def __init__(self):
        self.md = {
            "root": Metadata(Root(expires=NOW + 300 * DAY, consistent_snapshot=True)),
            "timestamp": Metadata(Timestamp(expires=NOW + 7 * DAY)),
            "snapshot": Metadata(Snapshot(expires=NOW + 30 * DAY)),
            "targets": Metadata(Targets(expires=NOW + 90 * DAY)),
        }
        self.signers = {role: [] for role in ROLES}
        self.files = {}
        for role in ROLES:
            self.add_key(role)
        for role in ROLES:
            self.write(role)

    def __getattr__(self, role):
        return self.md[role].signed

    def add_key(self, role):
        signer = CryptoSigner.generate_ed25519()
        self.md["root"].signed.add_key(signer.public_key, role)
        self.signers[role].append(signer)

    def rotate(self, role):
        """A new key in the place of all old ones. The old ones of root sign its successor too."""
        root = self.md["root"].signed
        for keyid in list(root.roles[role].keyids):
            root.revoke_key(keyid, role)
        if role != "root":
            self.signers[role] = []
        self.add_key(role)

    def write(self, role):
        """Signs a role with the keys at hand and puts it where readers look."""
        metadata = self.md[role]
        metadata.signatures.clear()
        for signer in self.signers[role]:
            metadata.sign(signer, append=True)
        data = metadata.to_bytes(JSONSerializer(validate=False))
        name = "timestamp.json" if role == "timestamp" else f"{metadata.signed.version}.{role}.json"
        self.files[f"metadata/{name}"] = data
        return data

    def next(self, *roles):
        """A new version of these roles, each named in the one that leads to it."""
        for role in roles:
            self.md[role].signed.version += 1
            self.publish(role)

    def publish(self, role):
        data = self.write(role)
        meta = MetaFile(self.md[role].signed.version, len(data), {"sha256": sha256(data)})
        if role == "targets":
            self.md["snapshot"].signed.meta["targets.json"] = meta
        if role == "snapshot":
            self.md["timestamp"].signed.snapshot_meta = meta

    def add_target(self, name, data):
        self.md["targets"].signed.targets[name] = TargetFile.from_data(name, data, ["sha256"])
        self.files[f"targets/{sha256(data)}.{name}"] = data


def sha256(data):
    return hashlib.sha256(data).hexdigest()


CASES = {}


def case(function):
    CASES[function.__name__] = function
    return function


# Each case yields the repository at one time and what a reader makes of it: `ok`, or the name of
# the refusal, with the lowest versions of timestamp and snapshot that may count from then on.


@case
def an_honest_repository(repo):
    repo.add_target("file", b"content")
    repo.next("targets", "snapshot", "timestamp")
    yield "ok", 2, 2


@case
def roots_follow_each_other(repo):
    yield "ok", 1, 1
    repo.rotate("root")
    repo.next("root")
    repo.signers["root"] = repo.signers["root"][-1:]
    repo.next("root")
    repo.next("timestamp")
    yield "ok", 2, 1


@case
def root_without_the_old_key(repo):
    repo.signers["root"] = []
    repo.rotate("root")
    repo.next("root", "timestamp")
    yield "Signature { role: Root", 0, 0


@case
def root_without_the_new_key(repo):
    repo.rotate("root")
    del repo.signers["root"][-1]
    repo.next("root", "timestamp")
    yield "Signature { role: Root", 0, 0


@case
def root_below_its_new_threshold(repo):
    repo.add_key("root")
    repo.root.roles["root"].threshold = 2
    del repo.signers["root"][-1]
    repo.next("root", "timestamp")
    yield "Signature { role: Root", 0, 0


@case
def root_version_skipped(repo):
    repo.root.version = 3
    data = repo.write("root")
    repo.files["metadata/2.root.json"] = data
    del repo.files["metadata/3.root.json"]
    yield "Rollback { role: Root", 0, 0


@case
def root_expired(repo):
    repo.root.expires = NOW - DAY
    repo.next("root", "timestamp")
    yield "Expired { role: Root", 0, 0


def signed_by_a_stranger(role, timestamp, snapshot):
    def steps(repo):
        yield "ok", 1, 1
        repo.signers[role] = [CryptoSigner.generate_ed25519()]
        repo.next("targets", "snapshot", "timestamp")
        yield f"Signature {{ role: {role.capitalize()}", timestamp, snapshot

    return steps


CASES["timestamp_signed_by_a_stranger"] = signed_by_a_stranger("timestamp", 1, 1)
CASES["snapshot_signed_by_a_stranger"] = signed_by_a_stranger("snapshot", 2, 1)
CASES["targets_signed_by_a_stranger"] = signed_by_a_stranger("targets", 2, 2)


def below_its_threshold(role, timestamp, snapshot):
    def steps(repo):
        repo.add_key(role)
        repo.add_key(role)
        repo.root.roles[role].threshold = 3
        repo.next("root", "targets", "snapshot", "timestamp")
        yield "ok", 2, 2
        repo.signers[role] = repo.signers[role][:2]
        repo.next("targets", "snapshot", "timestamp")
        yield f"Signature {{ role: {role.capitalize()}", timestamp, snapshot

    return steps


CASES["timestamp_below_its_threshold"] = below_its_threshold("timestamp", 2, 2)
CASES["snapshot_below_its_threshold"] = below_its_threshold("snapshot", 3, 2)
CASES["targets_below_its_threshold"] = below_its_threshold("targets", 3, 3)


def expired(role, timestamp, snapshot):
    def steps(repo):
        yield "ok", 1, 1
        repo.md[role].signed.expires = NOW - DAY
        repo.next("targets", "snapshot", "timestamp")
        yield f"Expired {{ role: {role.capitalize()}", timestamp, snapshot

    return steps


CASES["timestamp_frozen"] = expired("timestamp", 1, 1)
CASES["snapshot_frozen"] = expired("snapshot", 2, 1)
CASES["targets_frozen"] = expired("targets", 2, 2)


@case
def timestamp_rolled_back(repo):
    repo.next("timestamp")
    yield "ok", 2, 1
    repo.timestamp.version = 1
    repo.publish("timestamp")
    yield "Rollback { role: Timestamp", 2, 1


@case
def timestamp_rolled_back_after_a_failed_update(repo):
    yield "ok", 1, 1
    repo.next("snapshot", "timestamp")
    lost = repo.files.pop("metadata/2.snapshot.json")
    yield "Missing", 2, 1
    # Version 1 is what the machine last accepted as a whole; but it has seen version 2.
    repo.timestamp.version = 1
    repo.publish("timestamp")
    yield "Rollback { role: Timestamp", 2, 1
    repo.files["metadata/2.snapshot.json"] = lost
    repo.next("snapshot")
    repo.timestamp.version = 2
    repo.next("timestamp")
    yield "ok", 3, 3


@case
def snapshot_rolled_back(repo):
    repo.next("snapshot", "timestamp")
    yield "ok", 2, 2
    repo.snapshot.version = 1
    repo.publish("snapshot")
    repo.next("timestamp")
    yield "Rollback { role: Snapshot", 2, 2


@case
def targets_rolled_back(repo):
    repo.next("targets", "snapshot", "timestamp")
    yield "ok", 2, 2
    repo.targets.version = 1
    repo.publish("targets")
    repo.next("snapshot", "timestamp")
    yield "Rollback { role: Targets", 3, 2


@case
def timestamp_changed_without_a_new_version(repo):
    yield "ok", 1, 1
    repo.timestamp.snapshot_meta = MetaFile(100)
    repo.write("timestamp")
    yield "ok", 1, 1


@case
def mixed_snapshot(repo):
    """The snapshot of another time under the right name."""
    repo.next("targets", "snapshot", "timestamp")
    yield "ok", 2, 2
    repo.next("targets", "snapshot", "timestamp")
    repo.files["metadata/3.snapshot.json"] = repo.files["metadata/2.snapshot.json"]
    yield "Altered", 3, 2


@case
def mixed_targets(repo):
    repo.next("targets", "snapshot", "timestamp")
    yield "ok", 2, 2
    repo.next("targets", "snapshot", "timestamp")
    repo.files["metadata/3.targets.json"] = repo.files["metadata/2.targets.json"]
    yield "Altered", 3, 3


def mixed_without_hashes(role, timestamp, snapshot):
    """Lengths and hashes of metadata may be left out; then versions tell."""

    def steps(repo):
        repo.next("targets", "snapshot", "timestamp")
        yield "ok", 2, 2
        repo.targets.version = 3
        repo.write("targets")
        repo.snapshot.meta["targets.json"] = MetaFile(3)
        repo.snapshot.version = 3
        repo.write("snapshot")
        repo.timestamp.snapshot_meta = MetaFile(3)
        repo.next("timestamp")
        old = repo.files[f"metadata/2.{role}.json"]
        repo.files[f"metadata/3.{role}.json"] = old
        yield f"Malformed {{ role: {role.capitalize()}", timestamp, snapshot

    return steps


CASES["mixed_snapshot_without_hashes"] = mixed_without_hashes("snapshot", 3, 2)
CASES["mixed_targets_without_hashes"] = mixed_without_hashes("targets", 3, 3)


def fast_forward_recovery(rotated, broken, timestamp, snapshot):
    """A thief signed huge versions; the owner replaces the keys and starts anew."""

    def steps(repo):
        for role in broken:
            repo.md[role].signed.version = 1_000_000
        for role in ("targets", "snapshot", "timestamp"):
            repo.publish(role)
        yield "ok", repo.timestamp.version, repo.snapshot.version
        for role in rotated:
            repo.rotate(role)
        repo.next("root")
        for role in broken:
            repo.md[role].signed.version = 1
        for role in ("targets", "snapshot"):
            repo.publish(role)
        repo.publish("timestamp") if "timestamp" in broken else repo.next("timestamp")
        yield "ok", timestamp, snapshot

    return steps


CASES["timestamp_fast_forward"] = fast_forward_recovery(["timestamp"], ["timestamp"], 1, 1)
CASES["snapshot_fast_forward"] = fast_forward_recovery(
    ["snapshot", "timestamp"], ["snapshot"], 2, 1
)


@case
def the_old_timestamp_key_after_its_rotation(repo):
    yield "ok", 1, 1
    old = repo.signers["timestamp"]
    repo.rotate("timestamp")
    repo.next("root", "timestamp")
    yield "ok", 2, 1
    repo.signers["timestamp"] = old
    repo.next("timestamp")
    yield "Signature { role: Timestamp", 2, 1


@case
def a_delegation(repo):
    yield "ok", 1, 1
    signer = CryptoSigner.generate_ed25519()
    key = signer.public_key
    role = DelegatedRole("others", [key.keyid], 1, False, ["*"])
    repo.targets.delegations = Delegations({key.keyid: key}, {"others": role})
    others = Metadata(Targets(expires=NOW + 90 * DAY))
    others.sign(signer)
    repo.files["metadata/1.others.json"] = others.to_bytes(JSONSerializer())
    repo.snapshot.meta["others.json"] = MetaFile(1)
    repo.next("targets", "snapshot", "timestamp")
    yield 'Delegated { file: "1.others.json"', 2, 2


@case
def longer_than_it_says(repo):
    yield "ok", 1, 1
    repo.next("targets", "snapshot", "timestamp")
    repo.files["metadata/2.targets.json"] += b" "
    yield "TooLong", 2, 2


@case
def shorter_than_it_says(repo):
    yield "ok", 1, 1
    repo.next("targets", "snapshot", "timestamp")
    repo.files["metadata/2.snapshot.json"] = repo.files["metadata/2.snapshot.json"][:-1]
    yield "Altered", 2, 1


def main():
    out = pathlib.Path(sys.argv[1])
    for name, function in CASES.items():
        repo = Repository()
        folder = out / name
        folder.mkdir(parents=True)
        (folder / "root.json").write_bytes(repo.files["metadata/1.root.json"])
        steps = []
        for outcome, timestamp, snapshot in function(repo):
            for path, data in repo.files.items():
                file = folder / str(len(steps)) / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data)
            (folder / str(len(steps)) / "targets").mkdir(exist_ok=True)
            steps.append({"outcome": outcome, "timestamp": timestamp, "snapshot": snapshot})
        (folder / "steps.json").write_text(json.dumps(steps))


if __name__ == "__main__":
    main()
