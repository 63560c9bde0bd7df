//! Functions of the kernel that only read a table which they are given, while they run: they keep
//! no pointer to it and compare none with another.

use iced_x86::Register;

/// Registers that hold the first arguments (System V ABI for x86-64, 3.2.3).
pub(crate) const ARGUMENTS: [Register; 6] = [
    Register::RDI,
    Register::RSI,
    Register::RDX,
    Register::RCX,
    Register::R8,
    Register::R9,
];

/// One such function.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader {
    name: &'static str,
    /// Which argument is the table, from 0.
    table: usize,
    /// How many arguments there are.
    arguments: usize,
    /// Whether the result points into the table.
    pub points_into: bool,
    /// Whether functions that the table names are called with a pointer into it.
    pub calls: bool,
    /// Whether what the table holds is kept elsewhere.
    pub copies: bool,
}

const fn reader(name: &'static str, table: usize, arguments: usize) -> Reader {
    Reader {
        name,
        table,
        arguments,
        points_into: false,
        calls: false,
        copies: false,
    }
}

const fn copier(name: &'static str, table: usize, arguments: usize) -> Reader {
    Reader {
        copies: true,
        ..reader(name, table, arguments)
    }
}

const fn finder(name: &'static str, table: usize, arguments: usize) -> Reader {
    Reader {
        points_into: true,
        ..reader(name, table, arguments)
    }
}

/// As the kernels of 4.4 to 7.2 declare and define them.
const READERS: &[Reader] = &[
    // lib/nlattr.c. Of an attribute that is not taken, the policy's place stays in the extended
    // acknowledgement until the request has been answered, in the same system call.
    reader("nla_parse", 4, 6),
    reader("__nla_parse", 4, 7),
    reader("nla_validate", 3, 5),
    reader("__nla_validate", 3, 6),
    // drivers/firmware/dmi_scan.c
    Reader {
        calls: true,
        ..reader("dmi_check_system", 0, 1)
    },
    finder("dmi_first_match", 0, 1),
    // lib/parser.c, lib/string.c, lib/string_helpers.c
    reader("match_token", 1, 3),
    reader("match_string", 0, 3),
    reader("__sysfs_match_string", 0, 3),
    // arch/x86/lib, lib/usercopy.c: copies
    copier("memcpy", 1, 3),
    copier("__memcpy", 1, 3),
    copier("_copy_to_user", 1, 3),
    // sound/core/misc.c
    finder("snd_pci_quirk_lookup", 1, 2),
    finder("snd_pci_quirk_lookup_id", 2, 3),
    // drivers/base/regmap/regmap.c
    reader("regmap_multi_reg_write", 1, 3),
];

impl Reader {
    /// The reader of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        READERS.iter().find(|reader| reader.name == name)
    }

    /// Whether the function takes the register as its table, or does not look at it.
    pub fn may_have(&self, register: Register) -> bool {
        let place = ARGUMENTS.iter().position(|&argument| argument == register);
        place.is_none_or(|place| place == self.table || place >= self.arguments)
    }
}
