//! A machine in a folder, its kernel and its service, for tests.

mod hostile;
mod kernel;
mod mounts;
mod service;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

pub use hostile::{Hostile, Manner};
pub use kernel::{Behaviour, FakeKernel};
pub use mounts::in_own_mounts;
pub use service::{Service, TOKEN, module};

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use suture_advisory::{PatchVersion, Severity, SeverityClaim};
use suture_kernel::{BuildId, KernelBuild};
use suture_protocol::{BuildRecord, FileHash, Fix, Manifest, ModuleFile};
use tempfile::TempDir;

use crate::clock::Clock;
use crate::config::Times;
use crate::engine::Engine;
use crate::mode::Brake;
use crate::paths::Paths;
use crate::stage::Stage;
use crate::state::Notice;
use crate::status::{
    CheckReport, Coverage, EnrolmentReport, FixReport, PatchState, RolloutReport, StatusReport,
};

/// The version that `text` names.
pub fn version(text: &str) -> PatchVersion {
    text.parse().unwrap()
}

/// A moment: seconds after 2026-11-23T12:00:00Z.
pub fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_795_435_200 + seconds).unwrap()
}

/// A folder with the files of procfs, sysfs and /etc that the agent reads.
pub struct FakeTree {
    dir: TempDir,
}

impl FakeTree {
    pub const MACHINE_ID: &str = "0123456789abcdef0123456789abcdef";
    pub const BOOT_ID: &str = "8d2b1c9e-0f5a-4c3e-9b7d-1a2b3c4d5e6f";

    pub fn new() -> Self {
        let tree = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        tree.write(
            "etc/machine-id",
            format!("{}\n", Self::MACHINE_ID).as_bytes(),
        );
        tree.write("proc/sys/kernel/hostname", b"web-1\n");
        tree.write("proc/sys/kernel/osrelease", b"6.1.0-53-amd64\n");
        tree.write(
            "proc/sys/kernel/random/boot_id",
            format!("{}\n", Self::BOOT_ID).as_bytes(),
        );
        tree.write("proc/stat", b"cpu  1 2 3\nbtime 1795161600\n");
        tree.write("proc/uptime", b"273600.25 500000.00\n");
        tree.write(
            "proc/cpuinfo",
            b"processor\t: 0\nmodel name\t: QEMU Virtual CPU version 2.5+\n",
        );
        tree.write("sys/kernel/notes", &notes());
        fs::create_dir_all(tree.path("sys/kernel/livepatch")).unwrap();
        tree
    }

    /// The kernel build that the tree shows.
    pub fn kernel() -> KernelBuild {
        KernelBuild {
            release: "6.1.0-53-amd64".parse().unwrap(),
            architecture: "amd64".parse().unwrap(),
            build_id: BuildId::from_bytes(&[0xab; 20]).unwrap(),
        }
    }

    pub fn paths(&self) -> Paths {
        Paths::new(self.dir.path())
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.dir.path().join(relative)
    }

    pub fn write(&self, relative: &str, bytes: &[u8]) {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// A live patch in sysfs; `transition` is none on a kernel without transitions.
    pub fn patch(&self, name: &str, enabled: bool, transition: Option<bool>) {
        let digit = |flag: bool| if flag { b"1\n" } else { b"0\n" };
        self.write(
            &format!("sys/kernel/livepatch/{name}/enabled"),
            digit(enabled),
        );
        if let Some(transition) = transition {
            self.write(
                &format!("sys/kernel/livepatch/{name}/transition"),
                digit(transition),
            );
        }
    }
}

/// An ELF note of type NT_GNU_BUILD_ID with 20 bytes of 0xab.
fn notes() -> Vec<u8> {
    let mut notes = Vec::new();
    for word in [4_u32, 20, 3] {
        notes.extend(word.to_le_bytes());
    }
    notes.extend(b"GNU\0");
    notes.extend([0xab; 20]);
    notes
}

/// A manifest of `module` for the tree's kernel, with one fix.
pub fn manifest(text: &str, module: &[u8]) -> Manifest {
    let version = version(text);
    let claim = SeverityClaim {
        severity: Severity::High,
        score: Some(7.8),
        vector: None,
        author: "CISA-ADP".to_owned(),
    };
    let hash = |bytes: &[u8]| hex::encode(Sha256::digest(bytes));
    Manifest {
        schema: Manifest::SCHEMA,
        version,
        kernel: FakeTree::kernel(),
        module: ModuleFile {
            name: version.module_name(),
            unsigned_sha256: hash(module),
            file: FileHash {
                sha256: hash(module),
                length: module.len() as u64,
            },
        },
        fixes: vec![Fix {
            cve: "CVE-2026-89603".parse().unwrap(),
            title: "netfilter: nf_tables: use after free".to_owned(),
            description: "A set element outlives its set.".to_owned(),
            claims: vec![claim.clone()],
            decisive: claim,
        }],
        objects: Vec::new(),
        build: BuildRecord {
            compiler: "gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0".to_owned(),
            source_package: "linux-source-6.1 6.1.187-1".to_owned(),
            inputs: Vec::new(),
            suture: "0.1.0".to_owned(),
        },
        source: FileHash {
            sha256: hash(b"source"),
            length: 6,
        },
        smoke_test: None,
        left_out: Vec::new(),
        created: time(-3600),
    }
}

/// The report of an enabled machine, 52 seconds after a check-in.
pub fn report(patch: PatchState) -> StatusReport {
    let fixes = manifest("104.1", b"")
        .fixes
        .into_iter()
        .map(|fix| FixReport {
            cve: fix.cve.to_string(),
            title: fix.title,
            description: fix.description,
            patched: matches!(patch, PatchState::Applied { .. }),
        });
    StatusReport {
        now: time(52),
        agent_version: "0.1.0".to_owned(),
        machine_id: "5f2b6c0e9d8a47c1b3e4f5061728394a".parse().unwrap(),
        cpu_model: "QEMU Virtual CPU version 2.5+".to_owned(),
        boot_time: time(-69_544),
        uptime_secs: 69_596,
        kernel: FakeTree::kernel(),
        enrolment: Some(EnrolmentReport {
            server: "https://livepatch.example.com/".parse().unwrap(),
            plan: "free".to_owned(),
        }),
        remote_server: Some("https://livepatch.example.com/".parse().unwrap()),
        check: CheckReport::Succeeded { at: time(0) },
        coverage: Coverage::Covered,
        fixes: if patch.newest().is_some() {
            fixes.collect()
        } else {
            Vec::new()
        },
        patch,
        unpatched_tasks: Vec::new(),
        transition: None,
        stage: Stage::default(),
        brake: Brake::default(),
        trouble: Vec::new(),
        notice: Notice::default(),
        regular_update: crate::regular_update::RegularUpdate::default(),
        unwritten: None,
        covered_releases: Vec::new(),
        quarantine: Vec::new(),
        rollout: RolloutReport::default(),
    }
}

/// A clock that stands still until a test moves it.
#[derive(Debug, Default)]
pub struct TestClock {
    seconds: AtomicI64,
}

impl TestClock {
    /// Moves the clock to [`time`]`(seconds)`.
    pub fn set(&self, seconds: i64) {
        self.seconds.store(seconds, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        time(self.seconds.load(Ordering::SeqCst))
    }
}

/// A machine with its kernel and its agent.
pub struct Machine {
    pub tree: Arc<FakeTree>,
    pub kernel: Arc<FakeKernel>,
    pub clock: Arc<TestClock>,
    pub engine: Arc<Engine>,
}

impl Machine {
    /// The end of the boot ids that [`Self::reboot`] makes.
    const LATER_BOOT_ID: &str = "1111111-2222-3333-4444-555555555555\n";

    /// A machine that is configured for `service` and not enabled yet.
    pub fn new(service: &Service) -> Self {
        let tree = Arc::new(FakeTree::new());
        tree.write("etc/livepatch/root.json", &service.root);
        let config = format!("remote-server = \"{}\"\n", service.url());
        tree.write("etc/livepatch/config.d/50-site.toml", config.as_bytes());
        let clock = Arc::new(TestClock::default());
        let machine = Self::boot(tree, clock);
        machine.engine.recover().unwrap();
        machine
    }

    /// A machine that has taken `text` from `service` and settled.
    pub async fn with_patch(service: &Service, text: &str) -> Self {
        let machine = Self::new(service);
        service.offer(text).await;
        let refreshed = machine.engine.enable(TOKEN).await.unwrap();
        assert_eq!((refreshed.check, refreshed.patch), (Ok(()), Ok(())));
        machine.clock.set(1000);
        machine.engine.watch().unwrap();
        machine
    }

    fn boot(tree: Arc<FakeTree>, clock: Arc<TestClock>) -> Self {
        let kernel = Arc::new(FakeKernel::new(tree.clone()));
        let engine = Engine::open(tree.paths(), kernel.clone(), clock.clone());
        let engine = Arc::new(engine.unwrap());
        *engine.test.times.lock().unwrap() = Some(Times {
            transition_timeout: Duration::from_millis(300),
            reverse_after: None,
            ..Times::default()
        });
        Self {
            tree,
            kernel,
            clock,
            engine,
        }
    }

    /// Starts the agent anew in the same boot.
    pub fn restart_agent(self) -> Self {
        Self::boot(self.tree.clone(), self.clock.clone())
    }

    /// Reverses transitions after this time.
    pub fn reverse_after(&self, time: Duration) {
        let times = &mut *self.engine.test.times.lock().unwrap();
        times.as_mut().unwrap().reverse_after = Some(time);
    }

    /// Starts the machine anew: nothing is loaded any more.
    pub fn reboot(self) -> Self {
        fs::remove_dir_all(self.tree.path("sys/kernel/livepatch")).unwrap();
        fs::create_dir(self.tree.path("sys/kernel/livepatch")).unwrap();
        let path = "proc/sys/kernel/random/boot_id";
        let before = fs::read_to_string(self.tree.path(path)).unwrap();
        // The first digit counts the boots.
        let count = before.strip_suffix(Self::LATER_BOOT_ID);
        let count = count.map_or(1, |count| count.parse::<u8>().unwrap() + 1);
        let boot_id = format!("{count}{}", Self::LATER_BOOT_ID);
        self.tree.write(path, boot_id.as_bytes());
        Self::boot(self.tree.clone(), self.clock.clone())
    }
}

impl Drop for Machine {
    /// No story leaves the life cycle.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(*self.engine.test.wrong_steps.lock().unwrap(), []);
        }
    }
}
