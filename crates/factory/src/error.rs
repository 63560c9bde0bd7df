//! What can go wrong in the factory, for the person who has to act on it.

use std::io;
use std::path::{Path, PathBuf};

use suture_advisory::CveId;
use suture_kernel::{KernelRelease, ObjectName};
use thiserror::Error;

/// Why no live patch came out.
#[derive(Debug, Error)]
pub enum FactoryError {
    #[error("cannot {action} `{}`", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("cannot start `{program}`; install it (Debian package `{package}`)")]
    ProgramMissing {
        program: String,
        package: &'static str,
        source: io::Error,
    },
    #[error("`{command}` failed ({status}); its last lines:\n{tail}")]
    ProgramFailed {
        command: String,
        status: String,
        tail: String,
    },
    #[error(
        "the archive offers no `{package}`{wanted}; run `apt-get update`, or name a kernel that \
         `suture kernels` lists"
    )]
    NotInArchive { package: String, wanted: String },
    #[error("`{release}` is no release this factory can find sources for: {why}")]
    UnservedRelease {
        release: KernelRelease,
        why: &'static str,
    },
    #[error("kernel {release} was built with `{wanted}`, and `{program}` is `{found}` {place}")]
    WrongCompiler {
        release: KernelRelease,
        program: String,
        wanted: String,
        found: String,
        /// Where it was looked for, and what to do.
        place: &'static str,
    },
    #[error(
        "preparing the tree of {release} changes its configuration ({difference}); a tool that \
         the configuration depends on is missing, most often `pahole` (package `dwarves`)"
    )]
    ConfigurationChanged {
        release: KernelRelease,
        difference: String,
    },
    #[error("no live patch can be made for kernel {release}: {why} (`{setting}`)")]
    Unservable {
        release: KernelRelease,
        setting: &'static str,
        why: &'static str,
    },
    #[error("no live patch can be made for kernel {release}: {why}")]
    UnknownAbi {
        release: KernelRelease,
        #[source]
        why: suture_kernel::UnknownAbi,
    },
    #[error(
        "`{}` holds no kernel that was built there: {why}; build it with `make bzImage modules`",
        path.display()
    )]
    NoBuiltKernel { path: PathBuf, why: String },
    #[error(
        "the cache has another build of kernel {release}; remove `{}` to take this one",
        folder.display()
    )]
    KernelKnown {
        release: KernelRelease,
        folder: PathBuf,
    },
    #[error(
        "kernel {release} was added from a folder, and its prepared source is gone; add it again \
         by `suture kernel add`"
    )]
    SourceGone { release: KernelRelease },
    #[error("the packages of kernel {release} hold no `{what}`")]
    PackageIncomplete {
        release: KernelRelease,
        what: String,
    },
    #[error("fix `{}`: {why}", path.display())]
    BadFix { path: PathBuf, why: String },
    #[error("no live patch is made: {0}")]
    Refused(Refusals),
    #[error("{0}")]
    Advisory(String),
    #[error("cannot read the shipped kernel {release}: {why}")]
    ShippedKernel { release: KernelRelease, why: String },
    #[error("Kbuild's record `{}` of how it links a module is not as known", path.display())]
    UnreadableRecord { path: PathBuf },
    #[error("the linked module is not sound: {0}")]
    UnsoundModule(String),
    #[error("{what}: {why}")]
    Differ { what: String, why: String },
    #[error(
        "the module failed its smoke test and is not signed: {why}; what was done and seen is in \
         `{}`", evidence.display()
    )]
    SmokeTest { why: String, evidence: PathBuf },
    #[error(
        "the smoke test can't be made; `--skip-smoke-test WHY` builds without it, for experiments"
    )]
    SmokeMachine(#[from] suture_vm::VmError),
    #[error("there is no version after {0}, by which the smoke test could replace it")]
    LastVersion(suture_advisory::PatchVersion),
    #[error("cannot sign the module: {0}")]
    Signature(String),
    #[error("`{}` exists already; choose another output folder or remove it", .0.display())]
    OutputExists(PathBuf),
}

impl FactoryError {
    /// For `map_err`: names the file that an IO error is about.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

/// All the reasons why a fix can't become a live patch, so that an author sees them at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusals(pub Vec<Refusal>);

impl Refusals {
    /// With one refusal for a type that several units see changed in the same way.
    pub(crate) fn merged(refusals: Vec<Refusal>) -> Self {
        let mut merged: Vec<Refusal> = Vec::new();
        for refusal in refusals {
            let known = merged
                .iter_mut()
                .find_map(|known| known.units_of_the_same(&refusal));
            match (known, refusal.seen_in()) {
                (Some(known), Some(units)) => known.extend(units.iter().cloned()),
                _ => merged.push(refusal),
            }
        }
        Self(merged)
    }
}

impl std::fmt::Display for Refusals {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.as_slice() {
            [only] => write!(formatter, "{only}"),
            several => {
                for refusal in several {
                    write!(formatter, "\n  - {refusal}")?;
                }
                Ok(())
            }
        }
    }
}

/// One reason.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    #[error("{0}")]
    Severity(String),
    #[error("{cve} is named twice; give each advisory once")]
    AdvisoryTwice { cve: CveId },
    #[error("{cve} is rated but none of the given advisories; add its record with --advisory")]
    RatingOfNothing { cve: CveId },
    #[error("no advisory was given; a live patch is for High and Critical holes only")]
    NoAdvisory,
    #[error(
        "the edit of `{path}` changes the code of more than {limit} units{}; a change that wide is \
         for the regular kernel update: put the part that closes the hole into the files that \
         have it",
        by(.declarations)
    )]
    ReachesTooMuch {
        path: String,
        limit: usize,
        /// Names of what it declares in another way, if they are known.
        declarations: Vec<String>,
    },
    #[error(
        "the fix changes what assembler in `{path}` is made from, and the differ can't compare \
         that; leave that part of the header as it is"
    )]
    AssemblerReached { path: String },
    #[error(
        "`{name}`, as {}, is laid out anew ({how}); objects of the running kernel have the old \
         layout, and unpatched code makes more of them: keep the layout, and attach new fields \
         with a shadow variable",
        seen_by(units)
    )]
    Layout {
        units: Vec<String>,
        name: String,
        how: String,
    },
    #[error(
        "the exported `{name}` of `{unit}` {how} with the fix; modules that were built elsewhere \
         call it in the old way: keep it as it is, and give what the fix needs another name"
    )]
    CalledAnew {
        unit: String,
        name: String,
        how: String,
    },
    #[error(
        "`{member}` of `{table}`, as {}, {how} with the fix; modules that were built elsewhere \
         call it, or have functions there, in the old way: keep it as it is, and give what the fix \
         needs another name",
        seen_by(units)
    )]
    PointerCalledAnew {
        units: Vec<String>,
        table: String,
        member: String,
        how: String,
    },
    #[error(
        "with the fix `{unit}` does not compile: it uses {}, which nothing declares; add the part \
         of the fix that does, most often in a header",
        quoted(missing)
    )]
    LacksDeclarations { unit: String, missing: Vec<String> },
    #[error("with the fix `{unit}` does not compile: {message}")]
    DoesNotCompile { unit: String, message: String },
    #[error(
        "`{unit}` is linked into several modules, and the new `{symbol}` would be in the patch \
         twice; make it static"
    )]
    SharedUnit { unit: String, symbol: String },
    #[error(
        "the fix moves `{symbol}` out of `{unit}` into another unit; in the running kernel it stays \
         where it is, with all who use it: leave it there"
    )]
    MovedSymbol { unit: String, symbol: String },
    #[error("in `{unit}`: {why}")]
    Table { unit: String, why: String },
    #[error("`{unit}` declares {what}, which this kernel's livepatch does not have; do without")]
    NoSuchAbi { unit: String, what: &'static str },
    #[error(
        "`{unit}` names a second `{kind}` callback of {object}, and an object has one; call both \
         functions from one"
    )]
    CallbackTwice {
        unit: String,
        object: ObjectName,
        kind: &'static str,
    },
    #[error("`{unit}` declares state {id} in another version than another unit does")]
    StateTwice { unit: String, id: u64 },
    #[error(
        "`{unit}` declares a state and nothing else changes in it; put the declaration into a file \
         whose code the fix changes"
    )]
    StateAlone { unit: String },
    #[error("`{path}` names no unit; give its path in the kernel tree, such as `kernel/fork.c`")]
    NamedUnit { path: String },
    #[error("`{path}` is assembler, which the differ can't compare function by function")]
    Assembler { path: String },
    #[error(
        "`{path}` is Rust, which this kernel is compiled from too and which can't be patched here; \
         a fix of it takes the regular kernel update"
    )]
    Rust { path: String },
    #[error("`{path}` steers the build; a live patch can only change code that is compiled")]
    BuildSystem { path: String },
    #[error("`{path}` is a new source file; put its code into a file that the kernel already has")]
    NewUnit { path: String },
    #[error("`{path}` is removed; a live patch can't take code away")]
    RemovedFile { path: String },
    #[error("the fix changes nothing that this kernel is compiled from")]
    NothingCompiled,
    #[error("`{unit}` is not compiled into kernel {release}")]
    NotBuilt {
        unit: String,
        release: KernelRelease,
    },
    #[error("the compiled code of {units} is the same with and without the fix")]
    NoChange { units: String },
    #[error(
        "the fix only adds to {units}, and nothing that runs uses what is new; take the files that \
         call it into the fix as well"
    )]
    OnlyAdds { units: String },
    #[error("in `{unit}`: {why}")]
    Differ {
        unit: String,
        why: suture_differ::Refusal,
    },
    #[error(
        "`{function}` of `{unit}`: this compile does not equal what {object} shipped ({why}), \
         so a replacement can't be trusted"
    )]
    Unequal {
        unit: String,
        function: String,
        object: ObjectName,
        why: String,
    },
}

impl Refusal {
    /// The units that see a type changed, where it is told of a type.
    fn seen_in(&self) -> Option<&[String]> {
        match self {
            Self::Layout { units, .. } | Self::PointerCalledAnew { units, .. } => Some(units),
            _ => None,
        }
    }

    /// The units that see a type changed, if another refusal tells the same of it.
    fn units_of_the_same(&mut self, other: &Self) -> Option<&mut Vec<String>> {
        match (self, other) {
            (
                Self::Layout { units, name, how },
                Self::Layout {
                    name: of_other,
                    how: other_how,
                    ..
                },
            ) => (name == of_other && how == other_how).then_some(units),
            (
                Self::PointerCalledAnew {
                    units,
                    table,
                    member,
                    how,
                },
                Self::PointerCalledAnew {
                    table: of_other,
                    member: other_member,
                    how: other_how,
                    ..
                },
            ) => (table == of_other && member == other_member && how == other_how).then_some(units),
            _ => None,
        }
    }
}

/// The first of the units, and how many others.
fn seen_by(units: &[String]) -> String {
    let first = units.first().map_or("", String::as_str);
    match units.len().saturating_sub(1) {
        0 => format!("`{first}` sees it"),
        1 => format!("`{first}` and another unit see it"),
        others => format!("`{first}` and {others} other units see it"),
    }
}

/// What declarations a refusal is about, the first of them by name.
fn by(declarations: &[String]) -> String {
    const TOLD: usize = 6;
    if declarations.is_empty() {
        return String::new();
    }
    let told = quoted(&declarations[..declarations.len().min(TOLD)]);
    match declarations.len().saturating_sub(TOLD) {
        0 => format!(", through {told}"),
        more => format!(", through {told} and {more} more"),
    }
}

fn quoted(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_is_told_once_for_all_units_that_see_it() {
        let layout = |unit: &str, how: &str| Refusal::Layout {
            units: vec![unit.to_owned()],
            name: "struct sock".to_owned(),
            how: how.to_owned(),
        };
        let told = |refusals: &[Refusal]| {
            let merged = Refusals::merged(refusals.to_vec());
            let told = merged.0.iter().map(|refusal| {
                let text = refusal.to_string();
                text.split(';').next().unwrap_or_default().to_owned()
            });
            told.collect::<Vec<String>>()
        };
        let (a, other) = (layout("a.c", "`x` is new"), layout("d.c", "`y` is new"));
        let between = Refusal::NothingCompiled;
        let (b, c) = (layout("b.c", "`x` is new"), layout("c.c", "`x` is new"));
        assert_eq!(
            told(&[a.clone(), b.clone()]),
            ["`struct sock`, as `a.c` and another unit see it, is laid out anew (`x` is new)"]
        );
        assert_eq!(
            told(&[a, between, b, other, c]),
            [
                "`struct sock`, as `a.c` and 2 other units see it, is laid out anew (`x` is new)",
                "the fix changes nothing that this kernel is compiled from",
                "`struct sock`, as `d.c` sees it, is laid out anew (`y` is new)",
            ]
        );
    }

    #[test]
    fn a_wide_edit_is_told_with_what_it_declares() {
        let refusal = |declarations: usize| {
            let name = |number| format!("name{number}");
            Refusal::ReachesTooMuch {
                path: "include/linux/usb.h".to_owned(),
                limit: 200,
                declarations: (0..declarations).map(name).collect(),
            }
            .to_string()
        };
        let told = |part: &str| format!("more than 200 units{part}; a change that wide");
        assert!(refusal(0).contains(&told("")));
        assert!(refusal(2).contains(&told(", through `name0`, `name1`")));
        assert!(
            refusal(8).contains("`name5` and 2 more; a change"),
            "{}",
            refusal(8)
        );
    }
}
