//! A kernel that shows what it loads in a fake tree's sysfs.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use rustix::fs::OFlags;
use rustix::io::Errno;
use suture_advisory::PatchVersion;
use suture_protocol::HardwareId;

use super::FakeTree;
use crate::livepatch_sysfs::{self, Side, Task};
use crate::privileged::{LoadError, Privileged};

/// What the kernel does with the next module.
#[derive(Debug, Clone, Copy)]
pub enum Behaviour {
    /// In force at once.
    Apply,
    /// In transition until the test ends it.
    StayInTransition,
    Refuse(Errno),
    /// Takes it and shows no patch.
    Ignore,
}

/// See [`Behaviour`].
pub struct FakeKernel {
    tree: Arc<FakeTree>,
    behaviour: Mutex<Behaviour>,
    loads: Mutex<Vec<String>>,
    unloads: Mutex<Vec<String>>,
    gate: Mutex<Option<Receiver<()>>>,
}

impl FakeKernel {
    pub fn new(tree: Arc<FakeTree>) -> Self {
        Self {
            tree,
            behaviour: Mutex::new(Behaviour::Apply),
            loads: Mutex::new(Vec::new()),
            unloads: Mutex::new(Vec::new()),
            gate: Mutex::new(None),
        }
    }

    pub fn set(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    /// Holds the next load until what this returns is dropped.
    pub fn hold(&self) -> Sender<()> {
        let (sender, receiver) = channel();
        *self.gate.lock().unwrap() = Some(receiver);
        sender
    }

    /// The names of all modules that it was asked to load.
    pub fn loads(&self) -> Vec<String> {
        self.loads.lock().unwrap().clone()
    }

    /// The names of all modules that it was asked to take out.
    pub fn unloads(&self) -> Vec<String> {
        self.unloads.lock().unwrap().clone()
    }
}

impl Privileged for FakeKernel {
    fn load(&self, version: PatchVersion) -> Result<(), LoadError> {
        let name = version.module_name();
        self.loads.lock().unwrap().push(name.clone());
        if let Some(gate) = self.gate.lock().unwrap().take() {
            // An error: the sender is gone.
            let _ = gate.recv();
        }
        let behaviour = *self.behaviour.lock().unwrap();
        match behaviour {
            Behaviour::Apply => self.tree.patch(&name, true, Some(false)),
            Behaviour::StayInTransition => self.tree.patch(&name, true, Some(true)),
            Behaviour::Refuse(errno) => return Err(LoadError::Kernel(errno.into())),
            Behaviour::Ignore => {}
        }
        Ok(())
    }

    fn unload(&self, version: PatchVersion) -> io::Result<()> {
        if livepatch_sysfs::task_in_module(&self.tree.paths(), version).is_some() {
            return Err(Errno::BUSY.into());
        }
        self.unloads.lock().unwrap().push(version.module_name());
        Ok(())
    }

    fn reverse(&self, version: PatchVersion) -> io::Result<()> {
        livepatch_sysfs::reverse(&self.tree.paths(), version)
    }

    fn nudge(&self, version: PatchVersion) -> io::Result<bool> {
        livepatch_sysfs::nudge(&self.tree.paths(), version)
    }

    fn tasks(&self, version: PatchVersion, side: Side) -> Vec<Task> {
        livepatch_sysfs::tasks(&self.tree.paths(), version, side)
    }

    fn hardware(&self) -> Option<HardwareId> {
        crate::facts::hardware_id(&self.tree.paths())
    }

    fn kernel_log(&self) -> io::Result<File> {
        File::options()
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits() as i32)
            .open(self.tree.paths().kernel_log())
    }
}
