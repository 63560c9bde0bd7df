//! What the smoke test asks of the guest. Every wait has a deadline inside the guest.

use std::time::Duration;

use suture_kernel::ObjectName;
use suture_vm::{CommandOutput, Vm};

use super::Failure;
use super::load::Loads;

/// Where the work counts its rounds and the modules lie for a moment.
const FOLDER: &str = "/run/smoke";
/// Seconds that a transition, or a round of work, may take: the kernel looks at every task once
/// a second, and wakes those that sleep after 15.
const DEADLINE_SECS: u32 = 120;
/// The same, and some more for the guest to notice.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(180);

pub(super) struct Guest<'vm> {
    pub vm: &'vm Vm,
}

impl<'vm> Guest<'vm> {
    pub fn new(vm: &'vm Vm) -> Self {
        Self { vm }
    }

    fn shell(&self, script: &str) -> Result<CommandOutput, Failure> {
        let command = self.vm.command(&["sh", "-c", script]);
        Ok(command.timeout(COMMAND_TIMEOUT).run()?)
    }

    /// Loads a module to be patched; the kernel's reason if it will not.
    pub fn load_target(&self, name: &ObjectName) -> Result<Option<String>, Failure> {
        let output = self.shell(&format!("modprobe {name}"))?;
        let listed = format!("grep -q '^{name} ' /proc/modules");
        if output.success() && self.shell(&listed)?.success() {
            return Ok(None);
        }
        let words = output.stderr.trim();
        let words = if words.is_empty() {
            "it is not in /proc/modules"
        } else {
            words
        };
        Ok(Some(words.to_owned()))
    }

    /// Unloads a patched module; `false` if it is in use.
    pub fn unload_target(&self, name: &ObjectName) -> Result<bool, Failure> {
        Ok(self.shell(&format!("rmmod {name}"))?.success())
    }

    /// Starts all kinds of work.
    pub fn start(&self, loads: &Loads) -> Result<(), Failure> {
        let prepare = format!("{}\n: >{FOLDER}/ready\n", loads.preparation());
        let path = format!("{FOLDER}/prepare.sh");
        self.vm.write_file(&path, prepare.as_bytes(), 0o755)?;
        // It leaves sleeping tasks behind, so nobody waits for its end.
        self.vm
            .spawn_shell(&format!("sh {path}"), &format!("{FOLDER}/prepare.log"))?;
        if !self.wait(&format!("[ -e {FOLDER}/ready ]"))? {
            return Err(Failure::Patch(format!(
                "the virtual machine does not end its preparation for the work: {}",
                self.last_words()
            )));
        }
        for (number, round) in loads.rounds().enumerate() {
            let path = format!("{FOLDER}/work-{number}.sh");
            self.vm.write_file(&path, round.as_bytes(), 0o755)?;
            let worker = format!("{FOLDER}/worker-{number}.sh");
            let script = format!(
                "n=0\nwhile :; do\nif sh {path}; then n=$((n + 1)); echo $n >{FOLDER}/rounds-{number}; fi\n\
                 usleep 2000\ndone\n"
            );
            self.vm.write_file(&worker, script.as_bytes(), 0o755)?;
            self.vm
                .spawn_shell(&format!("sh {worker}"), &format!("{FOLDER}/log-{number}"))?;
        }
        Ok(())
    }

    /// Rounds done so far, by kind of work.
    pub fn rounds(&self, loads: &Loads) -> Result<Vec<u64>, Failure> {
        let mut rounds = Vec::new();
        for number in 0..loads.names().len() {
            let output = self.shell(&format!("cat {FOLDER}/rounds-{number}"))?;
            rounds.push(output.stdout.trim().parse().unwrap_or(0));
        }
        Ok(rounds)
    }

    /// Waits until each kind of work has ended a round that began after the `before`-th ended.
    pub fn wait_for_rounds(&self, loads: &Loads, before: &[u64]) -> Result<(), Failure> {
        for (number, name) in loads.names().iter().enumerate() {
            // The next one to end may have begun before.
            let wanted = before[number] + if before[number] == 0 { 1 } else { 2 };
            let file = format!("{FOLDER}/rounds-{number}");
            if !self.wait(&format!(
                "[ \"$(cat {file} 2>/dev/null || echo 0)\" -ge {wanted} ]"
            ))? {
                let log = self
                    .shell(&format!("tail -n 5 {FOLDER}/log-{number}"))?
                    .stdout;
                return Err(Failure::Patch(format!(
                    "the work `{name}` does not go on; it wrote: {}",
                    log.trim()
                )));
            }
        }
        Ok(())
    }

    /// Loads a patch.
    pub fn insert(&self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        let path = format!("{FOLDER}/{name}.ko");
        self.vm.write_file(&path, bytes, 0o600)?;
        let output = self.shell(&format!(
            "insmod {path}; status=$?; rm {path}; exit $status"
        ))?;
        if output.success() {
            return Ok(());
        }
        Err(Failure::Patch(format!(
            "the kernel does not load {name}: {}; its last words: {}",
            output.stderr.trim(),
            self.last_words()
        )))
    }

    pub fn remove(&self, name: &str) -> Result<(), Failure> {
        let output = self.shell(&format!("rmmod {name}"))?;
        if output.success() {
            return Ok(());
        }
        Err(Failure::Patch(format!(
            "the replaced {name} can't be unloaded: {}",
            output.stderr.trim()
        )))
    }

    pub fn wait_for_transition(&self, name: &str) -> Result<(), Failure> {
        let folder = format!("/sys/kernel/livepatch/{name}");
        let done = format!("[ \"$(cat {folder}/enabled {folder}/transition | xargs)\" = \"1 0\" ]");
        if self.wait(&done)? {
            return Ok(());
        }
        let holding = "for t in /proc/[0-9]*/task/[0-9]*; do [ \"$(cat $t/patch_state)\" = 0 ] && \
                       echo \"$(cat $t/comm): $(head -n 3 $t/stack | xargs)\"; done; true";
        Err(Failure::Patch(format!(
            "the transition of {name} does not end; held open by: {}",
            self.shell(holding)?.stdout.trim()
        )))
    }

    /// Whether a kernel without transitions has switched to a patch.
    pub fn is_enabled(&self, name: &str) -> Result<(), Failure> {
        let enabled = format!("[ \"$(cat /sys/kernel/livepatch/{name}/enabled)\" = 1 ]");
        if self.shell(&enabled)?.success() {
            return Ok(());
        }
        Err(Failure::Patch(format!("the kernel did not enable {name}")))
    }

    /// Takes a patch out of force, on kernels where that is for the patch itself to do.
    pub fn take_out(&self, name: &str) -> Result<(), Failure> {
        let output = self.shell(&format!("echo 0 > /sys/module/{name}/parameters/in_force"))?;
        if output.success() {
            return Ok(());
        }
        Err(Failure::Patch(format!(
            "{name} can't be taken out: {}; the kernel's last words: {}",
            output.stderr.trim(),
            self.last_words()
        )))
    }

    /// Waits until a replaced patch is out of the kernel's list.
    pub fn wait_until_gone(&self, name: &str) -> Result<(), Failure> {
        if self.wait(&format!("[ ! -e /sys/kernel/livepatch/{name} ]"))? {
            return Ok(());
        }
        Err(Failure::Patch(format!(
            "{name} stays although it was replaced"
        )))
    }

    /// The functions of a patch, as `OBJECT/FUNCTION,POSITION` lines.
    pub fn functions_of(&self, name: &str) -> Result<String, Failure> {
        Ok(self
            .shell(&format!("cd /sys/kernel/livepatch/{name} && ls -d */*,*"))?
            .stdout)
    }

    /// ftrace's list of functions with a handler.
    pub fn enabled_functions(&self) -> Result<String, Failure> {
        let read = "cat /sys/kernel/tracing/enabled_functions || \
                    cat /sys/kernel/debug/tracing/enabled_functions";
        Ok(self.shell(read)?.stdout)
    }

    /// Waits in the guest until a condition holds; `false` when the time is up.
    fn wait(&self, condition: &str) -> Result<bool, Failure> {
        let now = "$(cut -d. -f1 /proc/uptime)";
        let script = format!(
            "end=$(({now} + {DEADLINE_SECS})); until {condition}; do [ {now} -lt $end ] || exit 1; \
             usleep 50000; done"
        );
        Ok(self.shell(&script)?.success())
    }

    fn last_words(&self) -> String {
        let console = self.vm.console();
        let lines: Vec<&str> = console.lines().collect();
        lines[lines.len().saturating_sub(5)..].join(" / ")
    }
}
