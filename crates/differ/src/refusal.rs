//! Why a change can't become a live patch. Each sentence names the thing and a way out.

mod parts;

use thiserror::Error;

/// One reason against a patch of this unit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Error)]
#[non_exhaustive]
pub enum Refusal {
    #[error(
        "`{function}` lies in `{section}`, which is freed after boot or left out: a live patch \
         can't reach it; leave this hunk out if the fix does not need it"
    )]
    InitCode { function: String, section: String },
    #[error(
        "the initial value of `{symbol}` in `{section}` changed, but the running kernel holds the \
         object already; set the value from code that is patched, or keep it in a new variable"
    )]
    InitialValue { symbol: String, section: String },
    #[error(
        "`{symbol}` is {old} bytes in the running kernel and {new} in the fix; keep its layout \
         and attach new fields with a shadow variable"
    )]
    DataSize { symbol: String, old: u64, new: u64 },
    #[error(
        "the constant `{symbol}` is {old} bytes in the running kernel and {new} in the fix (a list \
         of machines, for example); look for what is new in code that is patched"
    )]
    ConstantSize { symbol: String, old: u64, new: u64 },
    #[error(
        "`{symbol}` lies in `{section}`, which is read when the kernel starts or the module is \
         loaded, and then freed; leave it out, it comes into force with the next start"
    )]
    InitData { symbol: String, section: String },
    #[error(
        "the device table `{symbol}` changed, from which the kernel chose a driver for each device \
         when this one was loaded; leave it out, and let an administrator add the device by \
         `new_id` in sysfs"
    )]
    DeviceTable { symbol: String },
    #[error(
        "the constant `{symbol}` in `{section}` changed (an operations table, for example), and \
         its users hold pointers to the old one; patch the functions that it names instead"
    )]
    ConstantChanged { symbol: String, section: String },
    #[error(
        "`{function}` starts without a call to `__fentry__` in the running kernel, so it can't be \
         redirected; nor can it go along with its callers, because more leads to it than calls \
         from functions that can be; patch its callers instead"
    )]
    NotTraceable { function: String },
    #[error(
        "`{function}` is the body of a system call, which the compiler keeps apart from its entry \
         points and which can't be redirected; declare it `static __always_inline` before, so that \
         they take it in and are replaced"
    )]
    SystemCallBody { function: String },
    #[error(
        "`{function}` calls `__fentry__` through a global offset table, which kernels do not have; \
         compile the unit with the kernel's own flags (no `-fPIC`)"
    )]
    FentryThroughGot { function: String },
    #[error(
        "`{function}` is a weak symbol: the running kernel may use another definition; patch its \
         callers, or the definition that the kernel uses"
    )]
    WeakFunction { function: String },
    #[error("`{function}` is chosen at boot (ifunc) and can't be redirected; patch its callers")]
    IndirectFunction { function: String },
    #[error(
        "`{symbol}` lies in a section group (COMDAT) that several units share; patch all its \
         users by a function of this unit"
    )]
    Grouped { symbol: String },
    #[error(
        "the fix exports `{symbol}` or changes how it is exported, which a running kernel can't \
         do, and nothing else; leave it for the regular kernel update"
    )]
    Export { symbol: String },
    #[error(
        "the fix changes `{text}` of the module's information, which is read from its file alone, and \
         nothing else; leave it for the regular kernel update"
    )]
    ModuleText { text: String },
    #[error(
        "section `{section}` changed: the kernel reads it at boot or when the module is loaded, \
         never again; leave out the part of the fix that adds to it"
    )]
    LoadTimeTable { section: String },
    #[error(
        "`{symbol}` moved from section `{old}` to `{new}`; keep its attributes (`__init`, \
         `noinstr`, `__ro_after_init` and the like)"
    )]
    Moved {
        symbol: String,
        old: String,
        new: String,
    },
    #[error("section `{section}` has another type or other flags than before; keep its attributes")]
    SectionChanged { section: String },
    #[error(
        "section `{section}` refers to the patched function `{function}`, and what it is for is \
         not known here; patch a caller of the function instead"
    )]
    UnknownSection { section: String, function: String },
    #[error(
        "section `{section}` changed, and what it is for is not known here; leave out the part of \
         the fix that changes it"
    )]
    UnknownTable { section: String },
    #[error(
        "section `{section}` tells where the kernel writes a constant into code while it boots, \
         and a patch comes too late for that; read the variable itself in the fix"
    )]
    ConstantInCode { section: String },
    #[error(
        "`{function}` uses the static key `{key}` of a module, which is not yet there when the \
         patch's jump labels are prepared; use `static_key_enabled` in the fix"
    )]
    ModuleStaticKey { function: String, key: String },
    #[error(
        "`{function}` needs `{symbol}` of a module in `{section}`, which the kernel works on \
         before that module's symbols are known; avoid the alternative in the fix"
    )]
    ModuleSymbolTooEarly {
        function: String,
        symbol: String,
        section: String,
    },
    #[error(
        "the static variable `{symbol}` can't be told apart from others of that name in the \
         running kernel; give the new variable another name"
    )]
    AmbiguousStatic { symbol: String },
    #[error(
        "the new object `{symbol}` would lie in `{section}`, which a patch module can't have; use \
         an ordinary or a shadow variable"
    )]
    NewDataPlace { symbol: String, section: String },
    #[error(
        "`{function}` refers to `{symbol}` in `{section}`, which the running kernel has freed \
         after boot; keep such uses out of the fix"
    )]
    FreedReference {
        function: String,
        symbol: String,
        section: String,
    },
    #[error("`{function}` refers to something in `{section}` in a way not understood here: {what}")]
    Reference {
        function: String,
        section: String,
        what: String,
    },
    #[error(
        "`{function}` has no section of its own (`{section}`) and is bound to its neighbours by \
         short jumps or shared unwind data; patch its callers instead"
    )]
    SharedSection { function: String, section: String },
    #[error(
        "`{function}` needs `{symbol}`, which can't be taken from the running kernel: {reason}"
    )]
    Unresolved {
        function: String,
        symbol: String,
        reason: String,
    },
    #[error(
        "`{symbol}` can't be named in a livepatch relocation of `{patched}`: it belongs to \
         `{object}`"
    )]
    ForeignSymbol {
        symbol: String,
        patched: String,
        object: String,
    },
    #[error(
        "a marker of the fix ignores section `{section}`, which no object of the unit has; correct its name"
    )]
    IgnoredNothing { section: String },
    #[error(
        "a marker of the fix ignores `{function}`, which is new: the running kernel has nothing \
         in its place; remove the marker"
    )]
    IgnoredNew { function: String },
}
