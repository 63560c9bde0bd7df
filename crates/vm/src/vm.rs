//! A running virtual machine.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::builder::VmBuilder;
use crate::channel::{Channel, ConsoleSink, Epoch, follow_console, no_answer};
use crate::command::{CommandOutput, GuestCommand, text};
use crate::forward::forwarded;
use crate::qemu::{Machine, NETWORK_ID, Qemu};
use crate::qmp::Qmp;
use crate::state::{SharedState, State};
use crate::wire::{self, Action, Answer, Bytes, Ready, WRITE_CHUNK};
use crate::{GuestKernel, VmError};

/// How long the guest may take for the answer itself, beyond what it was asked to do.
const ANSWER_GRACE: Duration = Duration::from_secs(60);

/// How often a boot is begun again whose emulated processor lost its timer.
const RESETS: usize = 2;

/// What the console holds in the place of such a boot.
const LOST_TIMER_NOTE: &str =
    "the machine was reset: an emulated processor lost its timer before the guest answered";

/// A running virtual machine. Dropping it kills QEMU, in a panic as well, and so does
/// the end of the thread that started it.
#[derive(Debug)]
pub struct Vm {
    // Dropped first: the files below are QEMU's.
    qemu: Qemu,
    channel: Channel,
    qmp: Mutex<Qmp>,
    state: Arc<SharedState>,
    transfer: Mutex<()>,
    boot_timeout: Duration,
    _folder: TempDir,
}

/// All that a start needs.
pub(crate) struct Started {
    pub machine: Machine,
    pub folder: TempDir,
    pub boot_timeout: Duration,
    pub console: Option<ConsoleSink>,
}

impl Vm {
    /// Begins a machine with this kernel, two processors, 512 MiB and a network.
    pub fn builder(kernel: GuestKernel) -> VmBuilder {
        VmBuilder::new(kernel)
    }

    pub(crate) fn start(started: Started) -> Result<Self, VmError> {
        let (mut qemu, sockets) = Qemu::start(&started.machine)?;
        let qmp = Qmp::open(sockets.qmp).map_err(|error| qemu.explain(error))?;
        let state = Arc::new(SharedState::default());
        follow_console(sockets.console, Arc::clone(&state), started.console);
        let channel = Channel::open(sockets.agent, Arc::clone(&state))?;
        let mut vm = Self {
            qemu,
            channel,
            qmp: Mutex::new(qmp),
            state,
            transfer: Mutex::new(()),
            boot_timeout: started.boot_timeout,
            _folder: started.folder,
        };
        match vm.wait_until_ready(Epoch::default()) {
            Ok(()) => Ok(vm),
            Err(error) => Err(vm.qemu.explain(error)),
        }
    }

    /// Runs a program as root to its end; see [`Self::command`] for more.
    pub fn run(&self, argv: &[&str]) -> Result<CommandOutput, VmError> {
        self.command(argv).run()
    }

    /// Runs a line of shell as root.
    pub fn shell(&self, script: &str) -> Result<CommandOutput, VmError> {
        self.run(&["sh", "-c", script])
    }

    /// A command whose user, timeout, environment or input is not the usual one.
    pub fn command(&self, argv: &[&str]) -> GuestCommand<'_> {
        GuestCommand::new(self, argv.iter().map(ToString::to_string).collect())
    }

    /// Starts a line of shell as root and leaves it running, its output appended to the file
    /// `log` in the guest. Returns its process id.
    pub fn spawn_shell(&self, script: &str, log: &str) -> Result<u32, VmError> {
        // With `exec`, the id belongs to the program and not to a shell around it.
        self.command(&["sh", "-c", &format!("exec {script}")])
            .spawn(log)
    }

    pub(crate) fn run_command(
        &self,
        command: wire::Command,
        timeout: Duration,
    ) -> Result<CommandOutput, VmError> {
        let line = command.argv.join(" ");
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let action = Action::Run {
            command,
            timeout_ms,
        };
        match self
            .channel
            .ask(action, timeout.saturating_add(ANSWER_GRACE))?
        {
            Answer::Finished(finished) => Ok(finished.into()),
            Answer::TimedOut { stdout, stderr } => Err(VmError::CommandTimeout {
                command: line,
                after: timeout,
                output: text(&stdout) + &text(&stderr),
            }),
            other => Err(unexpected(&other)),
        }
    }

    pub(crate) fn spawn_command(&self, command: wire::Command, log: &str) -> Result<u32, VmError> {
        let log = log.to_owned();
        match self
            .channel
            .ask(Action::Spawn { command, log }, ANSWER_GRACE)?
        {
            Answer::Started { pid } => Ok(pid),
            other => Err(unexpected(&other)),
        }
    }

    /// Writes a file of the guest; folders on the way are made.
    ///
    /// A kernel without virtio_console gets it over a UART at 30 KiB a second; large files belong
    /// into the initramfs ([`VmBuilder::file`]) there.
    pub fn write_file(&self, path: &str, bytes: &[u8], mode: u32) -> Result<(), VmError> {
        // One transfer at a time keeps what the guest has to buffer below its limit.
        let _turn = self.transfer.lock().unwrap_or_else(PoisonError::into_inner);
        let empty = bytes.is_empty().then_some(bytes);
        let mut offset = 0;
        for chunk in bytes.chunks(WRITE_CHUNK).chain(empty) {
            let action = Action::WriteFile {
                path: path.to_owned(),
                offset,
                mode,
                data: Bytes(chunk.to_vec()),
            };
            self.channel.ask(action, ANSWER_GRACE)?;
            offset += chunk.len() as u64;
        }
        Ok(())
    }

    /// Reads a file of the guest.
    pub fn read_file(&self, path: &str) -> Result<Vec<u8>, VmError> {
        let mut bytes = Vec::new();
        loop {
            let action = Action::ReadFile {
                path: path.to_owned(),
                offset: bytes.len() as u64,
            };
            match self.channel.ask(action, ANSWER_GRACE)? {
                Answer::Piece { data, end } => {
                    bytes.extend(data.0);
                    if end {
                        return Ok(bytes);
                    }
                }
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// Everything that the kernel printed so far, over all boots.
    pub fn console(&self) -> String {
        self.state.lock().console.text().to_owned()
    }

    /// Waits until the console holds a text; `false` when the time was up first.
    pub fn wait_for_console(&self, text: &str, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let holds = |found: bool| found.then_some(());
        let found = self
            .state
            .wait(deadline, |state| holds(state.console.text().contains(text)));
        found.is_some()
    }

    /// The kernel's id of this boot; another one after each restart.
    pub fn boot_id(&self) -> String {
        self.last_ready().boot_id
    }

    /// What `uname -r` prints in the guest.
    pub fn kernel_release(&self) -> String {
        self.last_ready().kernel_release
    }

    fn last_ready(&self) -> Ready {
        let ready = self.state.lock().ready.clone();
        ready.unwrap_or_else(|| Ready {
            boot_id: String::new(),
            kernel_release: String::new(),
        })
    }

    /// Plugs the network cable in (`true`) or pulls it out.
    pub fn set_link(&self, up: bool) -> Result<(), VmError> {
        self.qmp("set_link", &json!({ "name": NETWORK_ID, "up": up }))
    }

    /// Makes a TCP port of the guest reachable from this machine alone, and gives the address at
    /// which it is, a free one. Holds over restarts.
    pub fn forward(&self, guest_port: u16) -> Result<SocketAddr, VmError> {
        self.monitor(&format!(
            "hostfwd_add {NETWORK_ID} tcp:127.0.0.1:0-:{guest_port}"
        ))?;
        let table = self.monitor("info usernet")?;
        forwarded(&table, guest_port).ok_or(VmError::NotForwarded { guest_port })
    }

    /// What QEMU's monitor for people says to a command; to one that succeeds, often nothing.
    fn monitor(&self, line: &str) -> Result<String, VmError> {
        let arguments = json!({ "command-line": line });
        let mut qmp = self.qmp.lock().unwrap_or_else(PoisonError::into_inner);
        let said = qmp.execute("human-monitor-command", &arguments)?;
        Ok(said.as_str().unwrap_or_default().to_owned())
    }

    /// An orderly restart: processes are ended, the disk is unmounted, the initramfs is as it
    /// was at first. Returns when the guest answers again.
    pub fn reboot(&self) -> Result<(), VmError> {
        let before = self.now();
        self.channel.ask(Action::Reboot, ANSWER_GRACE)?;
        self.wait_until_ready(before)
    }

    /// Presses the reset button. Returns when the guest answers again.
    pub fn reset(&self) -> Result<(), VmError> {
        let before = self.now();
        self.qmp("system_reset", &json!({}))?;
        self.wait_until_ready(before)
    }

    /// Waits until the guest answers in another boot than the given one, for a machine that
    /// restarts by itself: after a panic, or because a program in it says so.
    pub fn wait_for_restart(&self, boot_id: &str, timeout: Duration) -> Result<(), VmError> {
        let came = |state: &State| {
            let ready = state.ready.as_ref();
            ready.is_some_and(|ready| ready.boot_id != boot_id)
        };
        self.wait_for_boot(self.now(), timeout, came, Epoch::ended)
    }

    /// Switches the machine off in an orderly way.
    pub fn shutdown(mut self) -> Result<(), VmError> {
        self.channel.ask(Action::PowerOff, ANSWER_GRACE)?;
        if self.qemu.wait_for_end(Instant::now() + ANSWER_GRACE) {
            return Ok(());
        }
        Err(no_answer(&self.state, ANSWER_GRACE))
    }

    /// Pulls the plug. The disk image stays as it is at this moment.
    pub fn power_cut(self) {
        drop(self);
    }

    fn now(&self) -> Epoch {
        Epoch::of(&self.state.lock())
    }

    fn qmp(&self, command: &str, arguments: &Value) -> Result<(), VmError> {
        let mut qmp = self.qmp.lock().unwrap_or_else(PoisonError::into_inner);
        qmp.execute(command, arguments).map(drop)
    }

    fn wait_until_ready(&self, since: Epoch) -> Result<(), VmError> {
        let came = |state: &State| since.answers_anew(state);
        self.wait_for_boot(since, self.boot_timeout, came, Epoch::crashed)
    }

    /// Waits for a boot to come to its end: `came` says that it has, `broken` why it can't.
    ///
    /// Under emulation, a processor that comes up now and then never gets its first timer
    /// interrupt, and the kernel waits for it for ever. The guest did nothing yet, so it is reset.
    fn wait_for_boot(
        &self,
        mut since: Epoch,
        timeout: Duration,
        came: impl Fn(&State) -> bool,
        broken: impl Fn(Epoch, &State) -> Option<VmError>,
    ) -> Result<(), VmError> {
        for resets_left in (0..=RESETS).rev() {
            let deadline = Instant::now() + timeout;
            let found = self.state.wait(deadline, |state| {
                if came(state) {
                    return Some(Ok(true));
                }
                let again = resets_left > 0 && since.lost_a_timer(state);
                let broken = broken(since, state).map(Err);
                broken.or_else(|| again.then_some(Ok(false)))
            });
            match found {
                Some(Ok(true)) => return Ok(()),
                Some(Ok(false)) => self.boot_again(&mut since)?,
                Some(Err(error)) => return Err(error),
                None => break,
            }
        }
        Err(no_answer(&self.state, timeout))
    }

    fn boot_again(&self, since: &mut Epoch) -> Result<(), VmError> {
        self.qmp("system_reset", &json!({}))?;
        self.state.change(|state| {
            state.console.replace_boot(LOST_TIMER_NOTE);
            since.forget_lost_timers(state);
        });
        Ok(())
    }
}

fn unexpected(answer: &Answer) -> VmError {
    let text = format!("{answer:?}");
    VmError::UnexpectedAnswer(text.chars().take(200).collect())
}
