//! QEMU: its command line and its process.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::VmError;
use crate::accelerator::Accelerator;
use crate::parent::end_with_parent;

/// The program, from Debian's package `qemu-system-x86`.
pub const PROGRAM: &str = "qemu-system-x86_64";

/// How long QEMU may take to connect to our sockets.
const CONNECT_DEADLINE: Duration = Duration::from_secs(30);

/// How long QEMU may take to end after its sockets have closed.
const END_GRACE: Duration = Duration::from_secs(2);

/// A machine for QEMU.
#[derive(Debug, Clone)]
pub struct Machine {
    pub accelerator: Accelerator,
    pub kernel: PathBuf,
    pub initramfs: PathBuf,
    pub kernel_arguments: Vec<String>,
    pub memory_mib: u32,
    pub cpus: u32,
    pub network: bool,
    pub port: Port,
    pub disk: Option<PathBuf>,
    /// Whether the disk image stays as it is, whatever the machine writes.
    pub drop_writes: bool,
    pub system_uuid: Option<String>,
    /// The sockets lie here.
    pub folder: PathBuf,
}

/// The line over which host and guest talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// Megabytes a second; needs the kernel's driver virtio_console.
    Virtio,
    /// The second UART, 30 to 150 KiB a second under emulation; every kernel has it.
    Serial,
}

impl Port {
    /// Its name in the guest.
    pub fn device(self) -> &'static str {
        match self {
            Self::Virtio => "/dev/vport0p1",
            Self::Serial => "/dev/ttyS1",
        }
    }
}

/// The name of the network device towards QMP.
pub const NETWORK_ID: &str = "n0";

impl Machine {
    /// QEMU's arguments.
    pub fn arguments(&self) -> Vec<OsString> {
        let mut line = CommandLine(Vec::new());
        line.words(&["-nodefaults", "-no-user-config", "-display", "none"]);
        match self.accelerator {
            Accelerator::Kvm => line.words(&["-machine", "pc,accel=kvm", "-cpu", "host"]),
            // Five-level page tables would only slow the emulation down.
            Accelerator::Tcg => {
                line.words(&["-machine", "pc,accel=tcg", "-cpu", "max,la57=off"]);
            }
        }
        line.words(&[
            "-smp",
            &self.cpus.to_string(),
            "-m",
            &self.memory_mib.to_string(),
        ]);
        line.option("-kernel", "", &self.kernel, false);
        line.option("-initrd", "", &self.initramfs, false);
        line.words(&["-append", &self.kernel_command_line()]);
        self.serial_ports(&mut line);
        if let Some(uuid) = &self.system_uuid {
            line.words(&["-uuid", uuid]);
        }
        if self.network {
            line.words(&["-netdev", &format!("user,id={NETWORK_ID}")]);
            line.words(&[
                "-device",
                &format!("virtio-net-pci,netdev={NETWORK_ID},romfile="),
            ]);
        }
        if let Some(disk) = &self.disk {
            let snapshot = if self.drop_writes { "snapshot=on," } else { "" };
            let start = format!("if=none,id=d0,format=raw,{snapshot}file=");
            line.option("-drive", &start, disk, true);
            line.words(&["-device", "virtio-blk-pci,drive=d0"]);
        }
        line.0
    }

    fn serial_ports(&self, line: &mut CommandLine) {
        for socket in Socket::ALL {
            let start = format!("socket,id={},path=", socket.name());
            line.option("-chardev", &start, &socket.path(&self.folder), true);
        }
        line.words(&["-serial", "chardev:console"]);
        match self.port {
            Port::Serial => line.words(&["-serial", "chardev:agent"]),
            Port::Virtio => {
                line.words(&["-device", "virtio-serial-pci"]);
                line.words(&["-device", "virtserialport,nr=1,chardev=agent,name=agent"]);
            }
        }
        line.words(&["-mon", "chardev=qmp,mode=control"]);
    }

    /// An oops becomes a panic, and a panic a restart, so that neither goes unnoticed; level 7
    /// shows all but debug messages.
    fn kernel_command_line(&self) -> String {
        let mut words = vec!["console=ttyS0 panic=-1 oops=panic loglevel=7"];
        // Named twice, as the kernel takes /bin/sh for an init that it cannot start, otherwise.
        words.push("rdinit=/init init=/init");
        words.push("printk.devkmsg=on net.ifnames=0");
        if self.accelerator == Accelerator::Tcg {
            // The emulated timer interrupt works, but slowly enough to look broken.
            words.push("no_timer_check");
        }
        words.extend(self.kernel_arguments.iter().map(String::as_str));
        words.join(" ")
    }
}

struct CommandLine(Vec<OsString>);

impl CommandLine {
    fn words(&mut self, words: &[&str]) {
        self.0.extend(words.iter().map(OsString::from));
    }

    /// An option whose value ends with a path. Within QEMU's lists, a comma is doubled.
    fn option(&mut self, name: &str, start: &str, path: &Path, in_list: bool) {
        let path = path.to_string_lossy();
        let path = if in_list {
            path.replace(',', ",,")
        } else {
            path.into_owned()
        };
        self.words(&[name, &format!("{start}{path}")]);
    }
}

/// The three sockets between host and machine.
#[derive(Debug, Clone, Copy)]
enum Socket {
    Console,
    Agent,
    Qmp,
}

impl Socket {
    const ALL: [Self; 3] = [Self::Console, Self::Agent, Self::Qmp];

    fn name(self) -> &'static str {
        match self {
            Self::Console => "console",
            Self::Agent => "agent",
            Self::Qmp => "qmp",
        }
    }

    fn path(self, folder: &Path) -> PathBuf {
        folder.join(self.name())
    }
}

/// The connected sockets.
#[derive(Debug)]
pub struct Sockets {
    pub console: UnixStream,
    pub agent: UnixStream,
    pub qmp: UnixStream,
}

/// A running QEMU; dropping it kills it.
#[derive(Debug)]
pub struct Qemu {
    child: Child,
    errors: PathBuf,
}

impl Qemu {
    /// Starts the machine and waits until its sockets are connected.
    pub fn start(machine: &Machine) -> Result<(Self, Sockets), VmError> {
        let listen = |socket: Socket| {
            let path = socket.path(&machine.folder);
            UnixListener::bind(&path).map_err(VmError::file("listen on", path))
        };
        let [console, agent, qmp] = Socket::ALL.map(listen);
        let (console, agent, qmp) = (console?, agent?, qmp?);
        let mut qemu = Self::spawn(machine)?;
        let deadline = Instant::now() + CONNECT_DEADLINE;
        let sockets = Sockets {
            console: qemu.accept(&console, deadline)?,
            agent: qemu.accept(&agent, deadline)?,
            qmp: qemu.accept(&qmp, deadline)?,
        };
        Ok((qemu, sockets))
    }

    fn spawn(machine: &Machine) -> Result<Self, VmError> {
        let errors = machine.folder.join("qemu.stderr");
        let log = File::create(&errors).map_err(VmError::file("write", &errors))?;
        let mut command = Command::new(PROGRAM);
        command
            .args(machine.arguments())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let child = end_with_parent(&mut command)
            .spawn()
            .map_err(VmError::start(PROGRAM, "qemu-system-x86"))?;
        Ok(Self { child, errors })
    }

    fn accept(&mut self, socket: &UnixListener, deadline: Instant) -> Result<UnixStream, VmError> {
        let failed = |error| VmError::Io("accept QEMU's connection", error);
        socket.set_nonblocking(true).map_err(failed)?;
        loop {
            match socket.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).map_err(failed)?;
                    return Ok(stream);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(failed(error)),
            }
            if self.has_ended() || Instant::now() >= deadline {
                return Err(VmError::QemuEnded {
                    reason: self.last_words().unwrap_or("it gave no reason".to_owned()),
                    console: String::new(),
                });
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Whether the process is gone.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Puts QEMU's own words into an error that comes of its end.
    pub fn explain(&mut self, error: VmError) -> VmError {
        let console = match &error {
            VmError::QemuEnded { console, .. } => console.clone(),
            VmError::Io(..) | VmError::Json(_) => String::new(),
            _ => return error,
        };
        if !self.wait_for_end(Instant::now() + END_GRACE) {
            return error;
        }
        match self.last_words() {
            Some(reason) => VmError::QemuEnded { reason, console },
            None => error,
        }
    }

    /// What QEMU said last on its stderr.
    fn last_words(&self) -> Option<String> {
        let text = fs::read_to_string(&self.errors).ok()?;
        text.lines().last().map(str::to_owned)
    }

    /// Waits until the process has ended by itself; `false` when the deadline came first.
    pub fn wait_for_end(&mut self, deadline: Instant) -> bool {
        while !self.has_ended() {
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(Duration::from_millis(5));
        }
        true
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // Both fail only if the process is gone already.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine {
            accelerator: Accelerator::Tcg,
            kernel: "/k/vmlinux".into(),
            initramfs: "/k/initramfs".into(),
            kernel_arguments: vec!["debug".into()],
            memory_mib: 512,
            cpus: 2,
            network: true,
            port: Port::Virtio,
            disk: Some("/k/a,b.img".into()),
            drop_writes: false,
            system_uuid: None,
            folder: "/f".into(),
        }
    }

    fn joined(machine: &Machine) -> String {
        let arguments = machine.arguments();
        let words: Vec<_> = arguments
            .iter()
            .map(|word| word.to_string_lossy())
            .collect();
        words.join(" ")
    }

    #[test]
    fn the_command_line() {
        let line = joined(&machine());
        for part in [
            "-machine pc,accel=tcg -cpu max,la57=off -smp 2 -m 512",
            "-kernel /k/vmlinux -initrd /k/initramfs",
            "no_timer_check debug",
            "-chardev socket,id=agent,path=/f/agent",
            "-serial chardev:console -device virtio-serial-pci",
            "-device virtserialport,nr=1,chardev=agent,name=agent",
            "-mon chardev=qmp,mode=control",
            "-netdev user,id=n0 -device virtio-net-pci,netdev=n0,romfile=",
            "-drive if=none,id=d0,format=raw,file=/k/a,,b.img",
        ] {
            assert!(line.contains(part), "{part}\n{line}");
        }
    }

    #[test]
    fn an_image_that_others_use_as_well_is_not_written_to() {
        let system = Machine {
            drop_writes: true,
            ..machine()
        };
        let drive = "-drive if=none,id=d0,format=raw,snapshot=on,file=/k/a,,b.img";
        assert!(joined(&system).contains(drive));
    }

    #[test]
    fn a_machine_restarts_and_has_no_devices_that_nobody_asked_for() {
        let bare = Machine {
            accelerator: Accelerator::Kvm,
            network: false,
            port: Port::Serial,
            disk: None,
            ..machine()
        };
        let line = joined(&bare);
        assert!(line.contains("-machine pc,accel=kvm -cpu host"));
        assert!(line.contains("-serial chardev:console -serial chardev:agent"));
        for part in ["-no-reboot", "virtio", "no_timer_check"] {
            assert!(!line.contains(part), "{part}\n{line}");
        }
    }

    /// A process in QEMU's place that says something and ends.
    fn ended(words: &str) -> (tempfile::TempDir, Qemu) {
        let folder = tempfile::tempdir().unwrap();
        let errors = folder.path().join("qemu.stderr");
        fs::write(&errors, words).unwrap();
        let child = Command::new("true").spawn().unwrap();
        (folder, Qemu { child, errors })
    }

    #[test]
    fn an_end_after_the_sockets_connected_is_told_in_qemus_words() {
        let (_folder, mut qemu) = ended("warning: slow\nqemu: cannot set up guest memory\n");
        let closed = || VmError::QemuEnded {
            reason: "it closed its control socket".to_owned(),
            console: "[    0.0] Linux".to_owned(),
        };
        assert_eq!(
            qemu.explain(closed()).to_string(),
            "QEMU ended: qemu: cannot set up guest memory\n[    0.0] Linux"
        );
        let reset = VmError::Io("talk to QEMU", io::ErrorKind::ConnectionReset.into());
        assert_eq!(
            qemu.explain(reset).to_string(),
            "QEMU ended: qemu: cannot set up guest memory\n"
        );
        let (_folder, mut silent) = ended("");
        assert!(
            silent
                .explain(closed())
                .to_string()
                .contains("control socket")
        );
        let other = qemu.explain(VmError::Restarted);
        assert!(matches!(other, VmError::Restarted));
    }
}
