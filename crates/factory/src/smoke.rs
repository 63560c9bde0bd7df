//! The smoke test: a module is loaded into the kernel that it was made for, before it is signed.
//!
//! The very kernel build is booted in a virtual machine, with work of many kinds going on. The
//! patch is loaded: its transition has to end, the kernel has to redirect the calls of each of
//! its functions, the work has to go on, and a second version has to replace it. The kernel must
//! not report a fault. What was done and seen is kept as [`SmokeEvidence`], whatever came of it.

mod guest;
mod load;
mod sysfs;

use std::path::Path;
use std::time::Instant;

use jiff::Timestamp;
use suture_advisory::PatchVersion;
use suture_kernel::{KernelBuild, LivepatchAbi, ObjectName};
use suture_protocol::{SmokeEvidence, SmokeMachine, SmokeObject, SmokeStep, Successor};
use suture_vm::{GuestKernel, Vm, VmError, kernel_faults};
use thiserror::Error;

use crate::files::sha256_hex;
use crate::glue::GlueFunction;
use guest::Guest;
use load::Loads;
pub use sysfs::check_use;

/// Processors of the machine.
const CPUS: u32 = 2;

/// A kernel with this header calls `cond_resched()` anew in hundreds of places while a live patch is
/// in transition, by breakpoints that it puts there and takes away.
const CHANGES_CALLS: &str = "include/linux/livepatch_sched.h";

/// Processors of the machine that a kernel with this source is tried on. QEMU's emulation (seen
/// with 7.2) lets one processor run into a breakpoint that another has taken away before, and the
/// kernel takes that for an error (`Oops: int3`); so where it emulates, such kernels get one.
pub(crate) fn cpus(source: &Path) -> u32 {
    if suture_vm::is_emulated() && source.join(CHANGES_CALLS).exists() {
        1
    } else {
        CPUS
    }
}
const MEMORY_MIB: u32 = 1024;
/// Lines of the kernel's log that the evidence keeps.
const LOG_LINES: usize = 1_000;

/// What a build does about the smoke test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SmokePlan {
    /// Make it; the text is a shell script that is run again and again as one more kind of work.
    Run { extra_load: Option<String> },
    /// Leave it out, for this reason, which the manifest keeps.
    Skip { why: String },
}

/// A module by its version and bytes.
pub(crate) struct Candidate<'a> {
    pub version: PatchVersion,
    pub unsigned: &'a [u8],
}

/// What is tested.
pub(crate) struct SmokeRun<'a> {
    pub kernel: &'a KernelBuild,
    pub abi: LivepatchAbi,
    pub boot: GuestKernel,
    /// See [`cpus`].
    pub cpus: u32,
    pub candidate: Candidate<'a>,
    /// The same fixes under the next number.
    pub successor: Candidate<'a>,
    pub objects: &'a [(ObjectName, Vec<GlueFunction>)],
    /// Sources that the fix changes the code of; they choose the work.
    pub units: &'a [&'a str],
    pub extra_load: Option<&'a str>,
    pub began: Timestamp,
}

/// Why a step went wrong.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// The patch, or the kernel with it, did not do what it has to.
    #[error("{0}")]
    Patch(String),
    #[error("the virtual machine: {0}")]
    Machine(#[from] VmError),
}

/// The number after a version's.
pub(crate) fn next(version: PatchVersion) -> Option<PatchVersion> {
    format!("{}.{}", version.batch(), version.rebuild().checked_add(1)?)
        .parse()
        .ok()
}

impl SmokeRun<'_> {
    /// Tests, and tells what was seen.
    ///
    /// # Errors
    ///
    /// Only if the machine does not come up, so that nothing is known of the patch. All else is
    /// in the evidence.
    pub fn run(&self) -> Result<SmokeEvidence, VmError> {
        let mut evidence = self.blank();
        let started = Instant::now();
        let vm = self.boot()?;
        evidence.steps.push(SmokeStep {
            what: "boot the kernel".to_owned(),
            took_ms: milliseconds(started),
            found: vm.kernel_release(),
        });
        let guest = Guest::new(&vm);
        let mut story = Story {
            run: self,
            guest,
            evidence: &mut evidence,
            log_start: vm.console().len(),
        };
        let failure = story.tell().err().map(|failure| failure.to_string());
        let log_start = story.log_start;
        evidence.failure = failure;
        let console = vm.console();
        let log = console.get(log_start..).unwrap_or(&console);
        evidence.kernel_log = log.lines().take(LOG_LINES).map(str::to_owned).collect();
        Ok(evidence)
    }

    fn boot(&self) -> Result<Vm, VmError> {
        let mut builder = Vm::builder(self.boot.clone())
            .cpus(self.cpus)
            .memory_mib(MEMORY_MIB);
        let patched = self.objects.iter().map(|(name, _)| name);
        for module in patched.filter(|name| !name.is_vmlinux()) {
            builder = builder.module_file(module.as_str());
        }
        for module in load::modules(self.units) {
            builder = builder.module_file(module);
        }
        builder.boot()
    }

    fn blank(&self) -> SmokeEvidence {
        SmokeEvidence {
            schema: SmokeEvidence::SCHEMA,
            version: self.candidate.version,
            kernel: self.kernel.clone(),
            unsigned_sha256: sha256_hex(self.candidate.unsigned),
            successor: Successor {
                version: self.successor.version,
                unsigned_sha256: sha256_hex(self.successor.unsigned),
            },
            machine: SmokeMachine {
                cpus: self.cpus,
                memory_mib: MEMORY_MIB,
            },
            began: self.began,
            failure: None,
            steps: Vec::new(),
            objects: Vec::new(),
            load: Vec::new(),
            kernel_log: Vec::new(),
        }
    }
}

/// One test under way.
struct Story<'a> {
    run: &'a SmokeRun<'a>,
    guest: Guest<'a>,
    evidence: &'a mut SmokeEvidence,
    /// Where the console's text from the load of the patch on begins.
    log_start: usize,
}

impl Story<'_> {
    fn tell(&mut self) -> Result<(), Failure> {
        self.check_kernel()?;
        self.load_targets()?;
        let loads = self.start_loads()?;
        self.log_start = self.guest.vm.console().len();
        let before = self.guest.rounds(&loads)?;
        self.load_patch()?;
        self.go_on(&loads, "the work goes on with the patch")?;
        let between = self.guest.rounds(&loads)?;
        self.replace()?;
        self.go_on(&loads, "the work goes on with the second version")?;
        self.targets_again()?;
        let after = self.guest.rounds(&loads)?;
        self.evidence.load = loads.told(&before, &between, &after);
        self.check_log()
    }

    /// Runs a step and keeps how long it took and what it found, or how it failed.
    fn step(
        &mut self,
        what: &str,
        work: impl FnOnce(&mut Self) -> Result<String, Failure>,
    ) -> Result<(), Failure> {
        let started = Instant::now();
        let result = work(self);
        let found = match &result {
            Ok(found) => found.clone(),
            Err(failure) => format!("failed: {failure}"),
        };
        self.evidence.steps.push(SmokeStep {
            what: what.to_owned(),
            took_ms: milliseconds(started),
            found,
        });
        result.map(drop)
    }

    fn check_kernel(&mut self) -> Result<(), Failure> {
        self.step("see that it is the build that the patch is for", |story| {
            let (release, id) = (&story.run.kernel.release, &story.run.kernel.build_id);
            let booted = story.guest.vm.kernel_release();
            let notes = story.guest.vm.read_file("/sys/kernel/notes")?;
            let found = suture_kernel::build_id_of_notes(&notes)
                .map_err(|error| Failure::Patch(error.to_string()))?;
            if booted != release.as_str() || found != *id {
                return Err(Failure::Patch(format!(
                    "kernel {booted} with build id {found} was booted, the patch is for {release} \
                     with build id {id}"
                )));
            }
            Ok(format!("build id {found}"))
        })
    }

    /// The modules to be patched go first, as on a machine that uses them.
    fn load_targets(&mut self) -> Result<(), Failure> {
        for (name, _) in self.run.objects {
            let refused = if name.is_vmlinux() {
                None
            } else {
                self.guest.load_target(name)?
            };
            self.evidence.objects.push(SmokeObject {
                name: name.clone(),
                loaded: refused.is_none(),
                why_not: refused.unwrap_or_default(),
                functions: Vec::new(),
            });
        }
        Ok(())
    }

    fn start_loads(&mut self) -> Result<Loads, Failure> {
        let loads = Loads::of(self.run.units, self.run.extra_load);
        self.step("start the work", |story| {
            story.guest.start(&loads)?;
            story.guest.wait_for_rounds(&loads, &loads.none())?;
            Ok(loads.names().join(", "))
        })?;
        Ok(loads)
    }

    fn load_patch(&mut self) -> Result<(), Failure> {
        let candidate = &self.run.candidate;
        let name = candidate.version.module_name();
        let bytes = candidate.unsigned;
        self.step(&format!("load patch {}", candidate.version), |story| {
            story.guest.insert(&name, bytes)?;
            Ok(name.clone())
        })?;
        self.switched(&name)?;
        self.check_functions(&name)
    }

    /// Waits until the kernel has switched to a patch.
    fn switched(&mut self, name: &str) -> Result<(), Failure> {
        if self.run.abi.has_transitions() {
            return self.step("wait for the end of its transition", |story| {
                story.guest.wait_for_transition(name)?;
                Ok("every task runs the new code".to_owned())
            });
        }
        self.step("see that it is enabled", |story| {
            story.guest.is_enabled(name)?;
            Ok("this kernel switches at once, without a transition".to_owned())
        })
    }

    fn check_functions(&mut self, name: &str) -> Result<(), Failure> {
        self.step("see that the kernel calls its functions", |story| {
            let known = story.guest.functions_of(name)?;
            let enabled = story.guest.enabled_functions()?;
            let mut count = 0;
            for (place, (object, functions)) in story.run.objects.iter().enumerate() {
                let loaded = story.evidence.objects[place].loaded;
                let used = sysfs::used(object, functions, loaded, &known, &enabled)
                    .map_err(Failure::Patch)?;
                count += used.len();
                story.evidence.objects[place].functions = used;
            }
            Ok(format!("functions whose calls are redirected: {count}"))
        })
    }

    /// A second version replaces the first as a whole.
    fn replace(&mut self) -> Result<(), Failure> {
        let (first, second) = (&self.run.candidate, &self.run.successor);
        let (old, new) = (first.version.module_name(), second.version.module_name());
        let bytes = second.unsigned;
        if !self.run.abi.has_transitions() {
            return self.succeed(&old, &new);
        }
        self.step(&format!("replace it by {}", second.version), |story| {
            story.guest.insert(&new, bytes)?;
            story.guest.wait_for_transition(&new)?;
            story.guest.wait_until_gone(&old)?;
            story.guest.remove(&old)?;
            Ok(format!("{new} is in force, {old} was removed"))
        })?;
        self.check_functions(&new)
    }

    /// The same where a patch can't replace another: the first goes before the second comes.
    fn succeed(&mut self, old: &str, new: &str) -> Result<(), Failure> {
        let second = &self.run.successor;
        let bytes = second.unsigned;
        self.step(&format!("take it out for {}", second.version), |story| {
            story.guest.take_out(old)?;
            story.guest.wait_until_gone(old)?;
            Ok(format!("{old} is not in force any more"))
        })?;
        self.step(&format!("load patch {}", second.version), |story| {
            story.guest.insert(new, bytes)?;
            Ok(new.to_owned())
        })?;
        self.switched(new)?;
        self.check_functions(new)
    }

    /// A patched module that can go comes back with the patch in it.
    fn targets_again(&mut self) -> Result<(), Failure> {
        let new = self.run.successor.version.module_name();
        let loaded: Vec<ObjectName> = self
            .evidence
            .objects
            .iter()
            .filter(|object| object.loaded && !object.name.is_vmlinux())
            .map(|object| object.name.clone())
            .collect();
        for object in loaded {
            self.step(&format!("unload {object} and load it again"), |story| {
                if !story.guest.unload_target(&object)? {
                    return Ok("it is in use and stays".to_owned());
                }
                match story.guest.load_target(&object)? {
                    None => Ok("it came back".to_owned()),
                    Some(why) => Err(Failure::Patch(format!(
                        "with the patch {object} can't be loaded again: {why}"
                    ))),
                }
            })?;
        }
        if self
            .evidence
            .objects
            .iter()
            .any(|object| !object.name.is_vmlinux())
        {
            self.check_functions(&new)?;
        }
        Ok(())
    }

    fn go_on(&mut self, loads: &Loads, what: &str) -> Result<(), Failure> {
        self.step(what, |story| {
            let before = story.guest.rounds(loads)?;
            story.guest.wait_for_rounds(loads, &before)?;
            Ok("each kind of work ended another round".to_owned())
        })
    }

    fn check_log(&mut self) -> Result<(), Failure> {
        self.step("read the kernel's log", |story| {
            let console = story.guest.vm.console();
            let log = console.get(story.log_start..).unwrap_or(&console);
            match kernel_faults(log).as_slice() {
                [] => Ok(format!("{} lines, no fault", log.lines().count())),
                faults => Err(Failure::Patch(format!(
                    "the kernel reports a fault: {}",
                    faults.join("; ")
                ))),
            }
        })
    }
}

fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_version_is_the_next_rebuild() {
        let next_of = |text: &str| next(text.parse().unwrap()).map(|version| version.to_string());
        assert_eq!(next_of("104.1").as_deref(), Some("104.2"));
        assert_eq!(next_of(&format!("1.{}", u32::MAX)), None);
    }
}
