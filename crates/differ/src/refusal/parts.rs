//! The parts of a refusal, for machines and lists.

use super::Refusal;

impl Refusal {
    /// Stable name of the kind of reason.
    pub fn name(&self) -> &'static str {
        match self {
            Self::InitCode { .. } => "init_code",
            Self::InitialValue { .. } => "initial_value",
            Self::DataSize { .. } => "data_size",
            Self::ConstantSize { .. } => "constant_size",
            Self::InitData { .. } => "init_data",
            Self::DeviceTable { .. } => "device_table",
            Self::ConstantChanged { .. } => "constant_changed",
            Self::NotTraceable { .. } => "not_traceable",
            Self::SystemCallBody { .. } => "system_call_body",
            Self::FentryThroughGot { .. } => "fentry_through_got",
            Self::WeakFunction { .. } => "weak_function",
            Self::IndirectFunction { .. } => "indirect_function",
            Self::Grouped { .. } => "grouped",
            Self::Export { .. } => "export",
            Self::ModuleText { .. } => "module_text",
            Self::LoadTimeTable { .. } => "load_time_table",
            Self::Moved { .. } => "moved",
            Self::SectionChanged { .. } => "section_changed",
            Self::UnknownSection { .. } => "unknown_section",
            Self::UnknownTable { .. } => "unknown_table",
            Self::ConstantInCode { .. } => "constant_in_code",
            Self::ModuleStaticKey { .. } => "module_static_key",
            Self::ModuleSymbolTooEarly { .. } => "module_symbol_too_early",
            Self::AmbiguousStatic { .. } => "ambiguous_static",
            Self::NewDataPlace { .. } => "new_data_place",
            Self::FreedReference { .. } => "freed_reference",
            Self::Reference { .. } => "reference",
            Self::SharedSection { .. } => "shared_section",
            Self::Unresolved { .. } => "unresolved",
            Self::ForeignSymbol { .. } => "foreign_symbol",
            Self::IgnoredNothing { .. } => "ignored_nothing",
            Self::IgnoredNew { .. } => "ignored_new",
        }
    }

    /// The function or object that it is about.
    pub fn symbol(&self) -> Option<&str> {
        match self {
            Self::InitCode { function, .. }
            | Self::NotTraceable { function }
            | Self::SystemCallBody { function }
            | Self::FentryThroughGot { function }
            | Self::WeakFunction { function }
            | Self::IndirectFunction { function }
            | Self::UnknownSection { function, .. }
            | Self::ModuleStaticKey { function, .. }
            | Self::ModuleSymbolTooEarly { function, .. }
            | Self::FreedReference { function, .. }
            | Self::Reference { function, .. }
            | Self::SharedSection { function, .. }
            | Self::Unresolved { function, .. }
            | Self::IgnoredNew { function } => Some(function),
            Self::InitialValue { symbol, .. }
            | Self::DataSize { symbol, .. }
            | Self::ConstantSize { symbol, .. }
            | Self::InitData { symbol, .. }
            | Self::DeviceTable { symbol }
            | Self::ConstantChanged { symbol, .. }
            | Self::Grouped { symbol }
            | Self::Export { symbol }
            | Self::Moved { symbol, .. }
            | Self::AmbiguousStatic { symbol }
            | Self::NewDataPlace { symbol, .. }
            | Self::ForeignSymbol { symbol, .. } => Some(symbol),
            Self::ModuleText { .. }
            | Self::LoadTimeTable { .. }
            | Self::SectionChanged { .. }
            | Self::UnknownTable { .. }
            | Self::ConstantInCode { .. }
            | Self::IgnoredNothing { .. } => None,
        }
    }

    /// The section that it names.
    pub fn section(&self) -> Option<&str> {
        match self {
            Self::InitCode { section, .. }
            | Self::InitialValue { section, .. }
            | Self::InitData { section, .. }
            | Self::ConstantChanged { section, .. }
            | Self::LoadTimeTable { section }
            | Self::SectionChanged { section }
            | Self::UnknownSection { section, .. }
            | Self::UnknownTable { section }
            | Self::ConstantInCode { section }
            | Self::ModuleSymbolTooEarly { section, .. }
            | Self::NewDataPlace { section, .. }
            | Self::FreedReference { section, .. }
            | Self::Reference { section, .. }
            | Self::SharedSection { section, .. }
            | Self::IgnoredNothing { section } => Some(section),
            Self::Moved { new, .. } => Some(new),
            _ => None,
        }
    }

    /// What is in the way, and what the author can do, where there is something to do.
    pub fn sentence(&self) -> (String, Option<String>) {
        let whole = self.to_string();
        match whole.split_once("; ") {
            Some((reason, advice)) => (reason.to_owned(), Some(advice.to_owned())),
            None => (whole, None),
        }
    }
}
