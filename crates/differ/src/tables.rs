//! Entries of the kernel's tables about taken code.

use crate::chunk::ChunkId;
use crate::extract::Extractor;
use crate::object::{Relocation, SymbolSection};
use crate::refusal::Refusal;
use crate::resolve::{ReferencedSymbol, SymbolKind};
use crate::special::{Entry, Table, original_length, paravirt_length, replacement_length};
use crate::unit::{Range, Target};

/// Bytes of `call rel32`.
const CALL_LENGTH: u64 = 5;

/// What happens to an entry about a static key or a static call.
enum Fate {
    Keep,
    /// The code works without: the branch stays as it was built, the call goes the long way.
    Drop,
    Refuse(Refusal),
}

impl Extractor<'_> {
    /// Takes one entry whose place lies in the chunk `site`.
    pub fn take_entry(&mut self, entry: &Entry, site: ChunkId) {
        let owner = self.layout.chunks[site].owner.clone();
        let fate = match entry.table {
            Table::Jump => self.static_key(entry, &owner),
            Table::StaticCall => self.static_call(entry, &owner),
            Table::Altinstructions => self.alternative(entry, &owner),
            Table::Paravirt => {
                let length = paravirt_length(&self.units.new, entry.range);
                self.rewritten(entry, length, &owner)
            }
            Table::Call => self.counted_call(entry, &owner),
            Table::Bug | Table::Exception | Table::Sites(_) | Table::OrcIp => Fate::Keep,
        };
        match fate {
            Fate::Keep => self.keep(entry, site, &owner),
            Fate::Drop => {}
            Fate::Refuse(refusal) => {
                self.refusals.insert(refusal);
            }
        }
    }

    fn keep(&mut self, entry: &Entry, site: ChunkId, owner: &str) {
        let new = &self.units.new;
        // The place may be the end of the function, where the next one begins.
        self.settled
            .insert((entry.range.section, entry.range.start), site);
        let name = new.section(entry.range.section).name.clone();
        let alignment = if entry.table == Table::Paravirt {
            16
        } else {
            1
        };
        self.layout
            .append(new, entry.range, &name, owner, alignment, true);
        if let Some(companion) = entry.companion {
            let name = new.section(companion.section).name.clone();
            self.layout.append(new, companion, &name, owner, 1, true);
        }
    }

    /// `__jump_table`: place, target, key.
    fn static_key(&mut self, entry: &Entry, owner: &str) -> Fate {
        let (key, late) = match self.key(entry, 2, owner) {
            Ok(found) => found,
            Err(refusal) => return Fate::Refuse(refusal),
        };
        if !late {
            return Fate::Keep;
        }
        if key.starts_with("__tracepoint_") && self.is_nop(entry.site) {
            return Fate::Drop;
        }
        Fate::Refuse(Refusal::ModuleStaticKey {
            function: owner.to_owned(),
            key,
        })
    }

    /// `.static_call_sites`: place, key. The kernel would learn of a module's key too late. As it
    /// is built, the call goes to the key's trampoline, which always jumps to the function of the
    /// moment, or returns where there is none (kernel: include/linux/static_call.h), so without
    /// its entry it does the same with one jump more.
    fn static_call(&mut self, entry: &Entry, owner: &str) -> Fate {
        match self.key(entry, 1, owner) {
            Ok((_, false)) => Fate::Keep,
            Ok((_, true)) if self.calls_trampoline(entry.site) => Fate::Drop,
            Ok((key, true)) => {
                let what = format!("the static call of `{key}` does not go to its trampoline");
                Fate::Refuse(self.reference(owner, entry.site.0, what))
            }
            Err(refusal) => Fate::Refuse(refusal),
        }
    }

    fn calls_trampoline(&self, (section, offset): (usize, u64)) -> bool {
        let new = &self.units.new;
        // The field of `call rel32` and `jmp rel32` lies one byte behind the place.
        let field = new
            .section(section)
            .relocations_in(offset, offset.saturating_add(2));
        matches!(field, [field] if new.is_branch(section, field)
            && new.name(field.symbol as usize).starts_with("__SCT__"))
    }

    /// The name of the key of an entry, and whether the kernel learns of it too late.
    fn key(&mut self, entry: &Entry, field: usize, owner: &str) -> Result<(String, bool), Refusal> {
        let (old, new) = (&self.units.old, &self.units.new);
        let section = entry.range.section;
        let relocations = new
            .section(section)
            .relocations_in(entry.range.start, entry.range.end);
        let Some(relocation) = relocations.get(field) else {
            return Err(self.reference(owner, section, "an entry has no key".to_owned()));
        };
        let (name, local, kind) = match new.target(section, relocation) {
            Target::Outside { symbol, .. } => {
                let symbol = new.symbol(symbol);
                if symbol.home != SymbolSection::Undefined {
                    return Err(self.reference(owner, section, "a key has no place".to_owned()));
                }
                (symbol.name.as_str(), false, SymbolKind::Unknown)
            }
            Target::Atom { symbol, .. } => match self.analysis.matcher.original_data(symbol) {
                Some(original) => {
                    let symbol = old.symbol(original);
                    (symbol.name.as_str(), symbol.is_local(), SymbolKind::Data)
                }
                // The patch brings its own: new, or the descriptor of a debug message.
                None => return Ok((new.name(symbol).to_owned(), false)),
            },
            _ => return Err(self.reference(owner, section, "a key has no name".to_owned())),
        };
        let wanted = ReferencedSymbol { name, local, kind };
        Ok((name.to_owned(), self.symbols.outside(&wanted, owner)?.late))
    }

    /// `.altinstructions`: place, replacement.
    fn alternative(&mut self, entry: &Entry, owner: &str) -> Fate {
        let new = &self.units.new;
        let range = entry.range;
        let relocations = new
            .section(range.section)
            .relocations_in(range.start, range.end);
        // Without replacement (older `static_cpu_has`), or with one of another unit (retpolines
        // of 5.14), there is no code to take.
        let second = match relocations {
            [_] => return self.rewritten(entry, original_length(new, range), owner),
            [_, second] if new.location(range.section, second).is_none() => {
                return self.rewritten(entry, original_length(new, range), owner);
            }
            [_, second] => second,
            _ => {
                let what = "an entry refers to more than a place and its replacement".to_owned();
                return Fate::Refuse(self.reference(owner, range.section, what));
            }
        };
        let Some(code) = self.replacement(range, second) else {
            let what = "a replacement lies outside of its section".to_owned();
            return Fate::Refuse(self.reference(owner, range.section, what));
        };
        let name = new.section(code.section).name.clone();
        let chunk = self.layout.append(new, code, &name, owner, 1, true);
        self.settled.insert((range.section, second.offset), chunk);
        self.rewritten(entry, original_length(new, range), owner)
    }

    fn replacement(&self, entry: Range, relocation: &Relocation) -> Option<Range> {
        let new = &self.units.new;
        let (section, offset) = new.location(entry.section, relocation)?;
        let start = u64::try_from(offset).ok()?;
        let end = start.checked_add(replacement_length(new, entry))?;
        (end <= new.section(section).size).then_some(Range {
            section,
            start,
            end,
        })
    }

    /// The kernel rewrites this code when it loads the patch; a module's symbol comes later and
    /// would find other bytes than it expects.
    fn rewritten(&self, entry: &Entry, length: u64, owner: &str) -> Fate {
        let (section, start) = entry.site;
        let end = start.saturating_add(length);
        match self.late.range((section, start)..(section, end)).next() {
            None => Fate::Keep,
            Some((_, symbol)) => Fate::Refuse(Refusal::ModuleSymbolTooEarly {
                function: owner.to_owned(),
                symbol: symbol.clone(),
                section: self.units.new.section(section).name.clone(),
            }),
        }
    }

    /// `.call_sites`: the kernel reads the call's target when it loads the patch. One that it fills
    /// in later is better left uncounted.
    fn counted_call(&self, entry: &Entry, owner: &str) -> Fate {
        match self.rewritten(entry, CALL_LENGTH, owner) {
            Fate::Keep => Fate::Keep,
            Fate::Drop | Fate::Refuse(_) => Fate::Drop,
        }
    }

    /// objtool has made a `nop` of the jump: without its entry it stays off.
    fn is_nop(&self, (section, offset): (usize, u64)) -> bool {
        let bytes = self
            .units
            .new
            .section(section)
            .bytes(offset, offset.saturating_add(2));
        let nops: [&[u8]; 2] = [&[0x66, 0x90], &[0x0f, 0x1f]];
        bytes.is_some_and(|bytes| nops.contains(&bytes.as_ref()))
    }
}
