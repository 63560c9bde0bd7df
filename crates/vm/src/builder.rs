//! Puts a virtual machine together.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::accelerator::Accelerator;
use crate::channel::ConsoleSink;
use crate::disk::Disk;
use crate::guest::{CONFIG_PATH, GuestConfig, NetworkConfig};
use crate::initramfs::Initramfs;
use crate::modules::{ModuleTree, Wanted, modules_alias, modules_dep};
use crate::qemu::{Machine, Port};
use crate::strip::read_stripped;
use crate::vm::Started;
use crate::{GuestKernel, Vm, VmError, userland};

/// The environment variable that names the guest's init.
const GUEST_INIT: &str = "SUTURE_GUEST_INIT";

/// Where a whole system is mounted before it takes over.
const SYSTEM_PLACE: &str = "/system";

/// Where a file's bytes come from.
#[derive(Debug, Clone)]
pub enum FileSource {
    /// A file of the host. An ELF program loses its symbols on the way.
    Path(PathBuf),
    Bytes(Vec<u8>),
}

/// A machine that is still being put together; see [`Vm::builder`].
#[must_use = "the machine has not been started yet"]
pub struct VmBuilder {
    kernel: GuestKernel,
    guest_init: Option<PathBuf>,
    files: Vec<(String, FileSource, u32)>,
    symlinks: Vec<(String, String)>,
    modules: Vec<Wanted>,
    module_files: Vec<Wanted>,
    kernel_arguments: Vec<String>,
    hostname: String,
    machine_id: String,
    system_uuid: Option<String>,
    network: bool,
    disk: Option<Disk>,
    memory_mib: u32,
    cpus: u32,
    boot_timeout: Duration,
    unpack_kernel: bool,
    console: Option<ConsoleSink>,
}

impl VmBuilder {
    pub(crate) fn new(kernel: GuestKernel) -> Self {
        Self {
            kernel,
            guest_init: None,
            files: Vec::new(),
            symlinks: Vec::new(),
            modules: Vec::new(),
            module_files: Vec::new(),
            kernel_arguments: Vec::new(),
            hostname: "guest".to_owned(),
            machine_id: "6d1f2c0a9b8e47d3a5c4f3e2d1b0a987".to_owned(),
            system_uuid: None,
            network: true,
            disk: None,
            memory_mib: 512,
            cpus: 2,
            boot_timeout: Duration::from_secs(120),
            unpack_kernel: true,
            console: None,
        }
    }

    /// The static program that is PID 1 (default: what SUTURE_GUEST_INIT names, else
    /// `guest-init` beside the running program or one folder above it).
    pub fn guest_init(mut self, path: impl Into<PathBuf>) -> Self {
        self.guest_init = Some(path.into());
        self
    }

    /// Puts a file into the initramfs; folders on the way are made.
    pub fn file(mut self, path: &str, source: FileSource, mode: u32) -> Self {
        self.files.push((path.to_owned(), source, mode));
        self
    }

    pub fn symlink(mut self, path: &str, target: &str) -> Self {
        self.symlinks.push((path.to_owned(), target.to_owned()));
        self
    }

    /// Loads a module at boot, after all that it depends on. One that is built in is no error.
    pub fn module(mut self, name: &str) -> Self {
        self.modules.push(Wanted::needed(name));
        self
    }

    /// Only carries a module along, with all that it depends on: `modprobe` in the guest finds
    /// it, and so does the kernel when a program asks for what it offers.
    pub fn module_file(mut self, name: &str) -> Self {
        self.module_files.push(Wanted::needed(name));
        self
    }

    /// Adds a word to the kernel's command line.
    pub fn kernel_argument(mut self, argument: &str) -> Self {
        self.kernel_arguments.push(argument.to_owned());
        self
    }

    /// Default: `guest`.
    pub fn hostname(mut self, name: &str) -> Self {
        name.clone_into(&mut self.hostname);
        self
    }

    /// `/etc/machine-id`: 32 lowercase hex digits, the same at every boot.
    pub fn machine_id(mut self, id: &str) -> Self {
        id.clone_into(&mut self.machine_id);
        self
    }

    /// What the firmware calls the machine, as `4c4c4544-0051-3510-8052-b4c04f4a4d32`
    /// (default: nothing).
    pub fn system_uuid(mut self, uuid: &str) -> Self {
        self.system_uuid = Some(uuid.to_owned());
        self
    }

    /// Whether there is a network card (default: yes). The host is 10.0.2.2, and so are the
    /// services on its loopback.
    pub fn network(mut self, network: bool) -> Self {
        self.network = network;
        self
    }

    /// A disk that survives restarts: a raw image on the host, made and formatted with ext4
    /// (64 MiB, see [`Self::disk_size_mib`]) if it is not there yet, mounted at `place`.
    pub fn disk(mut self, image: impl Into<PathBuf>, place: &str) -> Self {
        let size_mib = self.disk.map_or(64, |disk| disk.size_mib);
        self.disk = Some(Disk {
            image: image.into(),
            place: place.to_owned(),
            size_mib,
            system: false,
        });
        self
    }

    /// A disk with a whole system on ext4, e.g. Debian with systemd: its own init takes over once
    /// drivers, network and disk are there, and commands run in it. Of the initramfs nothing is
    /// left then. The image stays as it is; what the machine writes goes with the machine.
    pub fn system_disk(mut self, image: impl Into<PathBuf>) -> Self {
        self.disk = Some(Disk {
            image: image.into(),
            place: SYSTEM_PLACE.to_owned(),
            size_mib: 0,
            system: true,
        });
        self
    }

    /// Size of a disk that is made new. Call it after [`Self::disk`].
    pub fn disk_size_mib(mut self, size_mib: u64) -> Self {
        if let Some(disk) = &mut self.disk {
            disk.size_mib = size_mib;
        }
        self
    }

    /// Default: 512.
    pub fn memory_mib(mut self, memory_mib: u32) -> Self {
        self.memory_mib = memory_mib;
        self
    }

    /// Default: 2.
    pub fn cpus(mut self, cpus: u32) -> Self {
        self.cpus = cpus;
        self
    }

    /// How long the guest may take to answer after each start (default: 120 s).
    pub fn boot_timeout(mut self, timeout: Duration) -> Self {
        self.boot_timeout = timeout;
        self
    }

    /// Starts the bzImage as it is, with its own unpacker and so with KASLR (default: the
    /// unpacked kernel where it can be started so, which saves several seconds of emulation).
    pub fn boot_as_shipped(mut self) -> Self {
        self.unpack_kernel = false;
        self
    }

    /// Gets each line of the kernel's console when it is complete.
    pub fn console_to(mut self, sink: impl FnMut(&str) + Send + 'static) -> Self {
        self.console = Some(Box::new(sink));
        self
    }

    /// Starts the machine; returns when the guest answers.
    pub fn boot(mut self) -> Result<Vm, VmError> {
        let folder = tempfile::Builder::new()
            .prefix("suture-vm-")
            .tempdir()
            .map_err(|error| VmError::Io("make a folder for the machine", error))?;
        if let Some(disk) = &self.disk {
            disk.prepare()?;
        }
        let tree = ModuleTree::open(&self.kernel.modules)?;
        let port = port(&tree);
        let initramfs = self.write_initramfs(folder.path(), &tree, port)?;
        let machine = self.machine(folder.path(), initramfs, port)?;
        Vm::start(Started {
            machine,
            folder,
            boot_timeout: self.boot_timeout,
            console: self.console.take(),
        })
    }

    fn machine(&self, folder: &Path, initramfs: PathBuf, port: Port) -> Result<Machine, VmError> {
        let kernel = if self.unpack_kernel {
            self.kernel.boot_file(folder)?
        } else {
            self.kernel.vmlinuz.clone()
        };
        Ok(Machine {
            accelerator: Accelerator::of_this_host(),
            kernel,
            initramfs,
            kernel_arguments: self.kernel_arguments.clone(),
            memory_mib: self.memory_mib,
            cpus: self.cpus,
            network: self.network,
            port,
            disk: self.disk.as_ref().map(|disk| disk.image.clone()),
            drop_writes: self.is_system(),
            system_uuid: self.system_uuid.clone(),
            folder: folder.to_owned(),
        })
    }

    fn write_initramfs(
        &self,
        folder: &Path,
        tree: &ModuleTree,
        port: Port,
    ) -> Result<PathBuf, VmError> {
        let mut initramfs = Initramfs::default();
        let init = self.find_guest_init()?;
        initramfs.file("/init", read_stripped(&init, folder)?, 0o755)?;
        for (path, source, mode) in &self.files {
            let bytes = match source {
                FileSource::Path(file) => read_stripped(file, folder)?,
                FileSource::Bytes(bytes) => bytes.clone(),
            };
            initramfs.file(path, bytes, *mode)?;
        }
        for (path, target) in &self.symlinks {
            initramfs.symlink(path, target)?;
        }
        self.add_modules_and_config(&mut initramfs, tree, port)?;
        userland::add(&mut initramfs, &self.hostname)?;
        let path = folder.join("initramfs");
        let file = File::create(&path).map_err(VmError::file("write", &path))?;
        let written = initramfs.write(BufWriter::new(file));
        written.map_err(VmError::file("write", &path))?;
        Ok(path)
    }

    fn add_modules_and_config(
        &self,
        initramfs: &mut Initramfs,
        tree: &ModuleTree,
        port: Port,
    ) -> Result<(), VmError> {
        let root = format!("/lib/modules/{}", tree.release());
        let wanted = self.wanted_modules(port);
        let loaded = tree.load_order(&wanted)?;
        let all = tree.load_order(&[wanted, self.module_files.clone()].concat())?;
        let config = GuestConfig {
            hostname: self.hostname.clone(),
            modules: loaded
                .iter()
                .map(|module| format!("{root}/{}", module.path))
                .collect(),
            network: self.network.then(network_config),
            port: port.device().to_owned(),
            disk: self.disk.as_ref().map(|disk| disk.place.clone()),
            system: self.is_system(),
        };
        initramfs.file(CONFIG_PATH, serde_json::to_vec(&config)?, 0o644)?;
        let machine_id = format!("{}\n", self.machine_id);
        initramfs.file("/etc/machine-id", machine_id.into_bytes(), 0o444)?;
        let lists = [
            ("modules.dep", modules_dep(&all)),
            ("modules.alias", modules_alias(&all)),
            ("modules.symbols", String::new()),
        ];
        for (name, text) in lists {
            initramfs.file(&format!("{root}/{name}"), text.into_bytes(), 0o644)?;
        }
        for module in all {
            initramfs.file(&format!("{root}/{}", module.path), module.bytes, 0o644)?;
        }
        Ok(())
    }

    /// What was asked for, and the drivers of the machine's own devices.
    fn wanted_modules(&self, port: Port) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        if port == Port::Virtio {
            wanted.extend(["virtio_pci", "virtio_console"].map(Wanted::needed));
        }
        if self.network {
            wanted.extend(["virtio_pci", "virtio_net"].map(Wanted::needed));
        }
        if self.disk.is_some() {
            wanted.extend(["virtio_pci", "virtio_blk"].map(Wanted::needed));
            // Kernels differ in where the checksum comes from; ext4 asks for it by itself.
            wanted.push(Wanted::if_present("crc32c_generic"));
            wanted.push(Wanted::needed("ext4"));
        }
        if self.is_system() {
            // systemd mounts by it, and has no modules folder to load it from.
            wanted.push(Wanted::if_present("autofs4"));
        }
        wanted.extend(self.modules.iter().cloned());
        wanted
    }

    fn is_system(&self) -> bool {
        self.disk.as_ref().is_some_and(|disk| disk.system)
    }

    fn find_guest_init(&self) -> Result<PathBuf, VmError> {
        if let Some(path) = &self.guest_init {
            return Ok(path.clone());
        }
        if let Some(path) = std::env::var_os(GUEST_INIT) {
            return Ok(path.into());
        }
        let program = std::env::current_exe()
            .map_err(|error| VmError::Io("tell the running program's path", error))?;
        let folders = program.ancestors().skip(1).take(2);
        let mut candidates = folders.map(|folder| folder.join("guest-init"));
        candidates
            .find(|candidate| candidate.is_file())
            .ok_or(VmError::NoGuestInit { looked: program })
    }
}

/// The fast line where the kernel has its driver.
fn port(tree: &ModuleTree) -> Port {
    if tree.has("virtio_console") {
        Port::Virtio
    } else {
        Port::Serial
    }
}

/// QEMU's user network as it is by default.
fn network_config() -> NetworkConfig {
    NetworkConfig {
        interface: "eth0".to_owned(),
        address: "10.0.2.15/24".to_owned(),
        gateway: "10.0.2.2".to_owned(),
    }
}
